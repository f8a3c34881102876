import type { Command } from 'commander';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { secretValues } from '../config/redact.ts';
import { messageOf } from '../contracts/errors.ts';
import { rehearse, type TestResult } from '../host/rehearsal.ts';
import { createLogger } from '../observe/log.ts';
import { acting, CliError } from './command.ts';
import { configuration } from './configuration.ts';
import { type CliContext, standardConfig } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { colours, printable, printJson } from './output.ts';

const exitCodeHelp = `
Exit codes:
  0  every test came out as it says
  1  one did not
  2  the configuration is wrong, or has no tests
`;

interface TestOptions {
  readonly json?: boolean;
  readonly name?: string;
}

export function registerTest(program: Command, context: CliContext): void {
  const command = program
    .command('test')
    .description("run the configuration's tests: no broker is needed, and no function is run")
    .argument('[file]', 'the configuration', standardConfig)
    .option('--json', 'print JSON only')
    .option('--name <text>', 'only tests whose name contains it')
    .addHelpText('after', exitCodeHelp);
  acting(command, async ({ json, name = '' }: TestOptions, file: string) => {
    const environment = { ...environmentOf(file), ...process.env };
    const config = await configuration(file, context, { json, environment });
    const tests = config.tests.filter((test) => test.name.includes(name));
    if (tests.length === 0) {
      const which = name === '' ? '' : ` whose name contains "${name}"`;
      throw new CliError(
        exitCodes.usage,
        `${file}: there are no tests${which}; see \`tests\` in docs/configuration.md`,
      );
    }
    const queue = await context.registry.find('queue', 'memory');
    const store = await context.registry.find('store', 'memory');
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
    return failed > 0 ? exitCodes.failed : exitCodes.ok;
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
