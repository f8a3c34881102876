import type { Command } from 'commander';
import { changesOf, linesOf } from '../config/changes.ts';
import { loadConfig } from '../config/load.ts';
import { acting } from './command.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { colours, printable, printJson, table } from './output.ts';

const exitCodeHelp = `
Exit codes:
  0  a running gateway can take it up
  1  it needs a restart: a reload would be refused, and nothing changed
  2  one of the configurations is wrong
`;

export function registerPlan(program: Command, { registry, defaults }: CliContext): void {
  const command = program
    .command('plan')
    .description('show what a reload from one configuration to another would do, without a gateway')
    .argument('<old>', 'the configuration that runs')
    .argument('<new>', 'the configuration that is to run')
    .option('--json', 'print JSON only')
    .addHelpText('after', exitCodeHelp);
  acting(command, async ({ json }: { json?: boolean }, old: string, wanted: string) => {
    // Each with plugins of its own: the same module may stand in two folders.
    const before = await loadConfig(old, registry.fresh(), defaults);
    const after = await loadConfig(wanted, registry.fresh(), defaults);
    const problems = [...before.problems, ...after.problems];
    if (!json) for (const { text } of problems) console.error(text);
    if (!before.config || !after.config) {
      if (json) printJson({ valid: false, problems });
      return exitCodes.usage;
    }
    const changes = changesOf(before.config, after.config);
    const { needsRestart } = changes;
    const lines = linesOf(changes);
    if (json) printJson({ valid: true, problems, changes: lines, needsRestart });
    else {
      const rows = lines.map(({ path, change, because }) => [
        printable(path),
        change,
        because === undefined ? '' : `because of ${printable(because)}`,
      ]);
      if (rows.length > 0) console.log(table(['WHAT', 'CHANGE', ''], rows));
      for (const { path, reason } of needsRestart) {
        console.log(`${colours.red('needs a restart:')} ${printable(path)} ${printable(reason)}`);
      }
      if (rows.length + needsRestart.length === 0) console.log('nothing changes');
    }
    return needsRestart.length > 0 ? exitCodes.failed : exitCodes.ok;
  });
}
