import { globSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../core/config/load.ts';
import { builtIns } from '../support/gateway.ts';

const folder = join(import.meta.dirname, '../golden');
const linePlugin = join(import.meta.dirname, '../support/plugins/line.ts');
const separator = '--- expected\n';

/** As main has them. */
const defaults = {
  queues: { default: { kind: 'sqlite', path: 'data/queue.db' } },
  stores: { default: { kind: 'sqlite', path: 'data/store.db' } },
  providers: { worker: { kind: 'worker' } },
  connectors: { http: { kind: 'http' } },
};

/**
 * Each file of test/golden is a configuration, a line `--- expected`, and what `millrace check` prints about it.
 * `# env NAME=value` sets a variable; `# plugin line` at the top brings the connection of test/support/plugins/line.ts. `UPDATE_GOLDEN=1 npm test` writes what is printed: read the difference.
 */
describe('millrace check prints about', () => {
  it.each(globSync('*.yaml', { cwd: folder }).toSorted())('%s what is expected', async (name) => {
    const path = join(folder, name);
    const [yaml = '', expected] = readFileSync(path, 'utf8').split(separator);
    const environment = Object.fromEntries(
      [...yaml.matchAll(/^# env (\w+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value]),
    );
    const home = mkdtempSync(join(tmpdir(), 'millrace-golden-'));
    const file = join(home, 'millrace.yaml');
    writeFileSync(file, yaml);
    const registry = builtIns();
    if (yaml.startsWith('# plugin line')) await registry.addModule(linePlugin, home);
    const { config, problems } = await loadConfig(file, registry, defaults, environment);
    const printed = problems.map(({ text }) => `${text.replaceAll(home, 'config')}\n`).join('');
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(path, `${yaml}${separator}${printed}`);
    else expect(printed).toBe(expected);
    expect(config === undefined).toBe(problems.some(({ severity }) => severity === 'error'));
    for (const { line, column } of problems) expect(Math.min(line, column)).toBeGreaterThanOrEqual(1);
  });
  it('the example of the documentation', () => {
    const golden = readFileSync(join(folder, 'issue-example.yaml'), 'utf8');
    expect(golden).toContain(
      'config/millrace.yaml:12:5 connectors.nightly.schedul: unknown key, did you mean "schedule"?\n',
    );
    expect(basename(folder)).toBe('golden');
  });
});
