import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { request } from 'undici';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { TopView } from '../../core/cli/top-view.ts';
import { testGateway, type TestGateway } from '../support/gateway.ts';
import { atTerminal } from '../support/terminal.ts';

const main = join(import.meta.dirname, '../../core/main.ts');
const run = promisify(execFile);

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await testGateway('functions: { quiet: { behaviour: echo }, echo: { behaviour: echo } }\n');
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** Calls `echo` one time after another until it is ended. */
function calling(): AsyncDisposable {
  const ended = new AbortController();
  const done = (async () => {
    while (!ended.signal.aborted)
      await (await request(`${gateway.url}/function/echo`, { method: 'POST', body: 'x' })).body.dump();
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      ended.abort();
      await done;
    },
  };
}

const environment = (): Record<string, string> => ({
  PATH: process.env['PATH'] ?? '',
  MILLRACE_URL: gateway.url,
  MILLRACE_METRICS_URL: `${gateway.gateway.managementUrl}/metrics`,
});

it('top --json says once what the functions of a running gateway do', { timeout: 60_000 }, async () => {
  await using _calls = calling();
  const { stdout } = await run(process.execPath, [main, 'top', '--json'], { env: environment() });
  const { functions } = JSON.parse(stdout) as TopView;
  expect(functions.map(({ name }) => name)).toEqual(['echo.openfaas-fn', 'quiet.openfaas-fn']);
  const [echo, quiet] = functions;
  expect(echo?.perSecond).toBeGreaterThan(0);
  expect(echo?.p50Ms).toBeGreaterThan(0);
  expect(echo?.p99Ms).toBeGreaterThanOrEqual(echo?.p50Ms ?? Infinity);
  expect(quiet).toMatchObject({ perSecond: 0, p50Ms: null, errorsPerSecond: 0, queued: 0 });
});

it('top without metrics shows the rest, and says why', { timeout: 60_000 }, async () => {
  const env = { ...environment(), MILLRACE_METRICS_URL: 'http://127.0.0.1:1/metrics' };
  const { stdout, stderr } = await run(process.execPath, [main, 'top', '--every', '100ms'], { env });
  expect(stdout).toMatch(/echo\.openfaas-fn\s+ready\s+\S+\s+-\s+-\s+-\s+1\/1/);
  expect(stderr).toContain('no metrics at http://127.0.0.1:1/metrics');
});

it('top draws again in place at a terminal, sorts by keys, and leaves it as it was', { timeout: 60_000 }, async () => {
  await using _calls = calling();
  const command = `"${process.execPath}" "${main}" top --every 200ms --sort name`;
  await using terminal = atTerminal(command, '/', environment());
  await terminal.seen(/echo\.openfaas-fn[^]*quiet\.openfaas-fn/);
  terminal.write('r');
  const home = '\u001B[H';
  await expect.poll(() => terminal.raw().split(home).at(-1), { timeout: 30_000 }).toContain('\u001B[1mrate');
  const drawn = terminal.raw().split(home).length;
  await expect.poll(() => terminal.raw().split(home).length, { timeout: 30_000 }).toBeGreaterThan(drawn + 1);
  terminal.write('q');
  expect(await terminal.ended).toBe(0);
  // Line wrap, cursor and the page that was there before.
  expect(terminal.raw().trimEnd().endsWith('\u001B[?7h\u001B[?25h\u001B[?1049l')).toBe(true);
});
