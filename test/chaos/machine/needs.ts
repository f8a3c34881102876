import { describe, it } from 'vitest';
import { BrokerMissing, programsOf } from '../../support/brokers/programs.ts';

/** What a test wants of the machine that it runs on. */
export interface Needs {
  /** Programs that it calls, with Debian's packages that bring them: installed as brokers are. */
  readonly programs: readonly string[];
  readonly packages: readonly string[];
  /** Tries what only some machines allow (mounts, cgroups, ptrace), and rejects where that cannot be. */
  readonly attempt?: () => void | Promise<void>;
}

/** What this machine lacks; undefined if it has all of it. */
export async function lacking({ programs, packages, attempt }: Needs): Promise<string | undefined> {
  try {
    await programsOf({ programs, packages });
    await attempt?.();
    return undefined;
  } catch (error) {
    const [line = ''] = (error as Error).message.split('\n');
    return error instanceof BrokerMissing ? line : `this machine does not allow it: ${line}`;
  }
}

/** `describe`; on a machine that lacks something its tests are skipped, with a line that says so. */
export async function describeOnMachine(name: string, needs: Needs, suite: () => void): Promise<void> {
  const missing = await lacking(needs);
  if (missing === undefined) {
    describe(name, suite);
    return;
  }
  process.stderr.write(`\nSKIPPED: ${name}: ${missing}\n\n`);
  describe(name, () => it.skip(missing, () => undefined));
}
