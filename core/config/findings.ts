import type { z } from 'zod';
import type { Source } from './issues.ts';
import { warning } from './lint.ts';
import type { Problem } from './problem.ts';
import { secretFields } from './redact.ts';

/** What one reading of a configuration gathers on its way. */
export interface Findings {
  readonly source: Source;
  readonly problems: Problem[];
  /** Every value that must not be seen. */
  readonly secrets: string[];
}

/** The same, of a configuration that stands in files. */
export interface FileFindings extends Findings {
  /**
   * The text of a file that the configuration names, without its trailing newline; a relative path is meant from its
   * folder. What it says belongs to the configuration: a change of it is a change of that.
   *
   * @throws Error with a message for people.
   */
  readonly read: (path: string) => string;
}

/** Keeps the values of secret fields in mind, and warns of those that anybody can read in the file. */
export function gatherSecrets(
  schema: z.ZodType,
  value: unknown,
  at: readonly (string | number)[],
  { source, problems, secrets }: Findings,
): void {
  for (const { path, value: secret } of secretFields(schema, value)) {
    secrets.push(secret);
    const full = [...at, ...path];
    if (source.outside(full) !== undefined || source.place(full) === undefined) continue;
    const text = 'a secret stands in the file; ${file:/run/secrets/…} or ${VAR} keeps it out';
    problems.push(warning(full, 'secret-in-file', text, source));
  }
}
