import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { exitCodes } from '../../core/cli/exit-codes.ts';
import { rootSchema } from '../../core/config/schema.ts';
import { parseDuration } from '../../core/config/units.ts';
import manifest from '../../package.json' with { type: 'json' };

const text = readFileSync(join(import.meta.dirname, '../../deploy/systemd/millrace.service'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'millrace-unit-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The last value of a setting; an empty one empties it. */
function valueOf(unit: string, key: string): string | undefined {
  return [...unit.matchAll(new RegExp(`^${key}=(.*)$`, 'gm'))].at(-1)?.[1];
}

/** What systemd itself says of a unit, with a Node that is there. */
function analyzed(unit: string, ...args: readonly string[]): { code: number | null; said: string } {
  const file = join(folder, 'millrace.service');
  writeFileSync(file, unit.replace('/usr/bin/node', process.execPath));
  const { status, stdout, stderr } = spawnSync('systemd-analyze', [...args, file], { encoding: 'utf8' });
  return { code: status, said: stderr + (args[0] === 'verify' ? stdout : '') };
}

function hasSystemd(): boolean {
  try {
    // The first release that looks at the safety of a file.
    return (
      Number(/^systemd (\d+)/.exec(execFileSync('systemd-analyze', ['--version'], { encoding: 'utf8' }))?.[1]) >= 250
    );
  } catch {
    return false;
  }
}

describe('the unit for systemd', () => {
  it('starts what the package brings, and gives it the time that it takes to stop', () => {
    expect(valueOf(text, 'ExecStart')).toBe(
      `/usr/bin/node /opt/millrace/node_modules/millrace/${manifest.bin.millrace} serve --config /etc/millrace/millrace.yaml`,
    );
    const { notice, drain } = rootSchema.parse({}).gateway.shutdown;
    expect(parseDuration(valueOf(text, 'TimeoutStopSec') ?? '')).toBe(notice + drain + 20_000);
    expect(valueOf(text, 'RestartPreventExitStatus')).toBe(String(exitCodes.usage));
    expect(valueOf(text, 'WorkingDirectory')).toBe(`/var/lib/${valueOf(text, 'StateDirectory')}`);
    // Both would break it: nobody says that it is ready, and V8 compiles while it runs.
    expect(valueOf(text, 'Type')).not.toMatch(/notify/);
    expect(valueOf(text, 'MemoryDenyWriteExecute')).toBeUndefined();
  });

  describe.skipIf(!hasSystemd())('as systemd sees it (skipped: no systemd-analyze of systemd 250 or later)', () => {
    it('has no setting that it does not know', () => {
      expect(analyzed(text, 'verify')).toEqual({ code: 0, said: '' });
      expect(analyzed(text.replace('ProtectHome=', 'ProtectHomes='), 'verify').said).toContain('ProtectHomes');
    });

    it('leaves little open', () => {
      const safe = ['security', '--offline=yes', '--threshold=14'];
      expect(analyzed(text, ...safe).code).toBe(0);
      for (const setting of [
        'PrivateUsers=yes',
        'ProtectKernelModules=yes',
        'CapabilityBoundingSet=',
        'SystemCallFilter=@system-service',
      ])
        expect(analyzed(text.replace(`${setting}\n`, ''), ...safe).code, setting).not.toBe(0);
    });
  });
});
