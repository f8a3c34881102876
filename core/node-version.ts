import manifest from '../package.json' with { type: 'json' };
import { isWithinRange } from './kit/version.ts';

/** Why that release of Node is not used, as a sentence; undefined where it is. */
export function refusalOfNode(version: string): string | undefined {
  const { node: range } = manifest.engines;
  if (isWithinRange(version, range)) return undefined;
  return `Node ${version} does not run Millrace, which needs ${range}: others cannot load it, or let requests be smuggled (CVE-2026-58044)`;
}
