/** What code of a function sees of the environment: of the gateway's own these names only, since others may be secrets. */
export function functionEnv(
  passedOn: readonly string[],
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of passedOn) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  return { ...env, ...own };
}
