import type { Command } from 'commander';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { loadConfig } from '../config/load.ts';
import { secretValues } from '../config/redact.ts';
import { messageOf } from '../contracts/errors.ts';
import { rehearse, type TestResult } from '../host/rehearsal.ts';
import { createLogger } from '../observe/log.ts';
import { type CliContext, standardConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { colours, printable, printJson } from './output.ts';

const exitCodeHelp = `
Exit codes:
  0  every test came out as it says
  1  one did not
  2  the configuration is wrong, or has no tests
`;

export function registerTest(program: Command, { registry, defaults }: CliContext): void {
  program
    .command('test')
    .description("run the configuration's tests: no broker is needed, and no function is run")
    .argument('[file]', 'the configuration', standardConfig)
    .option('--json', 'results as JSON')
    .option('--name <text>', 'only tests whose name contains it')
    .addHelpText('after', exitCodeHelp)
    .action(async (file: string, { json, name = '' }: { json?: boolean; name?: string }) => {
      const environment = { ...environmentOf(file), ...process.env };
      const { config, problems } = await loadConfig(file, registry, defaults, environment);
      for (const { text, severity } of problems) if (severity === 'error') console.error(text);
      if (!config) {
        process.exitCode = exitCodes.usage;
        return;
      }
      const tests = config.tests.filter((test) => test.name.includes(name));
      if (tests.length === 0) {
        console.error(
          `${file}: there are no tests${name === '' ? '' : ` whose name contains "${name}"`}; see \`tests\` in docs/configuration.md`,
        );
        process.exitCode = exitCodes.usage;
        return;
      }
      const queue = await registry.find('queue', 'memory');
      const store = await registry.find('store', 'memory');
      if (!queue || !store) throw new Error('the queue and the store of kind memory are not built in');
      const logger = createLogger({ format: 'json', level: 'silent', secrets: new Set(secretValues(config)) });
      const results: TestResult[] = [];
      for (const test of tests) {
        const result = await rehearse(config, test, { queue, store }, logger).catch((error: unknown) => ({
          name: test.name,
          differences: [messageOf(error)],
        }));
        results.push(result);
        if (!json) for (const line of linesOf(result)) console.log(line);
      }
      const failed = results.filter(({ differences }) => differences.length > 0).length;
      if (json) printJson({ passed: results.length - failed, failed, results });
      else console.log(`${results.length - failed} passed, ${failed} failed`);
      process.exitCode = failed > 0 ? exitCodes.failed : exitCodes.ok;
    });
}

function linesOf({ name, differences }: TestResult): string[] {
  const mark = differences.length === 0 ? colours.green('ok') : colours.red('failed');
  return [`${mark} ${printable(name, 200)}`, ...differences.map((each) => `  ${printable(each, 2000)}`)];
}

/** The variables that the tests bring; what is wrong with the file is told when it is loaded. */
function environmentOf(file: string): Record<string, string> {
  let tests: unknown;
  try {
    tests = (parse(readFileSync(file, 'utf8')) as { readonly tests?: unknown } | null)?.tests;
  } catch {
    return {};
  }
  const all = Array.isArray(tests) ? tests.map((test: { readonly env?: unknown } | null) => test?.env) : [];
  const pairs = all.flatMap((env) => (typeof env === 'object' && env !== null ? Object.entries(env) : []));
  return Object.fromEntries(pairs.map(([name, value]) => [name, String(value)]));
}
