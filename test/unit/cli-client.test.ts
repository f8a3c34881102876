import { Command } from 'commander';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createToken, digestOf } from '../../core/auth/token.ts';
import { registerDeadLetters } from '../../core/cli/dead-letters.ts';
import { exitCodeHelp, exitCodes } from '../../core/cli/exit-codes.ts';
import { registerFunctions } from '../../core/cli/functions.ts';
import { registerInvocations } from '../../core/cli/invocations.ts';
import { registerInvoke } from '../../core/cli/invoke.ts';
import { age, printable } from '../../core/cli/output.ts';
import { registerQueues } from '../../core/cli/queues.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import type { Routes } from '../../core/contracts/route.ts';
import { readJson } from '../../core/api/json-body.ts';
import { Reply } from '../../core/api/reply.ts';
import { kill, leaseOne, message, startApi, type TestApi } from '../api/api-server.ts';

let api: TestApi;
let queue: Queue;
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-cli-'));
  api = await startApi({ routes: functionRoutes });
  queue = api.queues.get('default') as Queue;
});
afterEach(async () => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  process.exitCode = undefined;
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

/** A stand-in for the HTTP connector: `echo` answers, `fails` fails, anything else is missing; async is queued. */
function functionRoutes(routes: Routes): void {
  routes.add({
    methods: ['GET', 'POST'],
    path: '/function/:name',
    auth: 'public',
    handle: async (request, response, { name }) => {
      const reply = new Reply(response);
      const { headers } = request;
      const body = await readJson(request, 10_000);
      reply.header('x-seen', JSON.stringify({ ...headers, authorization: headers.authorization ?? 'none' }));
      if (name === 'missing' || name === 'slov') {
        const error = { code: 'function.missing', message: `no function "${name}" is deployed` };
        reply.code(404).header('x-openfaas-internal', 'millrace').send({ error });
      } else if (name === 'fails') reply.code(503).send('out of order');
      else if (headers['x-invoke-mode'] !== 'async') {
        reply.type('text/plain').send(`echo ${JSON.stringify(body ?? '')}`);
      } else {
        const made = message();
        await queue.enqueue([made]);
        reply.header('x-invocation-id', made.id).header('x-call-id', 'c').header('x-durability', 'disk');
        reply.code(202).header('location', `/invocations/${made.id}`).send();
      }
    },
  });
}

interface Run {
  readonly code: unknown;
  readonly out: string;
  readonly error: string;
}

/** Runs the command as `main.ts` would, against the test's gateway. */
async function millrace(...words: string[]): Promise<Run> {
  const out: Buffer[] = [];
  const error: string[] = [];
  const keep = (chunk: unknown, ...rest: unknown[]): boolean => {
    out.push(Buffer.from(chunk as string));
    for (const done of rest) if (typeof done === 'function') (done as () => void)();
    return true;
  };
  const write = vi.spyOn(process.stdout, 'write').mockImplementation(keep);
  const log = vi.spyOn(console, 'log').mockImplementation((text: string) => void out.push(Buffer.from(`${text}\n`)));
  const complain = vi.spyOn(console, 'error').mockImplementation((text: string) => void error.push(text));
  process.exitCode = undefined;
  const program = new Command('millrace').exitOverride();
  for (const register of [
    registerFunctions,
    registerInvoke,
    registerInvocations,
    registerQueues,
    registerDeadLetters,
  ]) {
    register(program);
  }
  try {
    await program.parseAsync(words.includes('--url') ? words : [...words, '--url', api.url], { from: 'user' });
  } finally {
    for (const spy of [write, log, complain]) spy.mockRestore();
  }
  const code = process.exitCode;
  process.exitCode = undefined;
  return {
    code,
    out: stripVTControlCharacters(Buffer.concat(out).toString()),
    error: stripVTControlCharacters(error.join('\n')),
  };
}

test('functions: a table for people, JSON for scripts', async () => {
  const people = await millrace('functions');
  expect(people.code).toBe(exitCodes.ok);
  expect(people.out).toMatch(/echo\.openfaas-fn\s+ready\s+1\/1/);
  const scripts = await millrace('functions', '--json');
  expect(JSON.parse(scripts.out)[0]).toMatchObject({ name: 'echo', state: 'ready' });
});

test('invoke prints the answer and ends with 0; a failing function ends with 1', async () => {
  const data = await millrace('invoke', 'echo', '--data', '{"a":1}', '--header', 'X-Trace: t1');
  expect([data.code, data.out]).toEqual([exitCodes.ok, 'echo {"a":1}']);
  const failed = await millrace('invoke', 'fails');
  expect([failed.code, failed.out]).toEqual([exitCodes.failed, 'out of order']);
  expect(failed.error).toContain('503');
  const json = await millrace('invoke', 'echo', '--json');
  expect(JSON.parse(json.out)).toMatchObject({ status: 200, body: 'echo ""' });
});

test('invoke of a function that does not exist ends with 4', async () => {
  const { code, error } = await millrace('invoke', 'missing');
  expect(code).toBe(exitCodes.notFound);
  expect(error).toContain('no function "missing" is deployed (function.missing); `millrace functions` lists');
  expect((await millrace('invoke', 'slov')).error).toContain('did you mean "slow"? (function.missing)');
});

test('credentials go to the management API only, never to a function', async () => {
  vi.stubEnv('MILLRACE_USER', 'admin');
  vi.stubEnv('MILLRACE_PASSWORD', 'canary');
  const { out } = await millrace('invoke', 'echo', '--json');
  const seen = JSON.parse(JSON.parse(out).headers['x-seen']);
  expect(seen.authorization).toBe('none');
});

test('invoke --async prints id and location', async () => {
  const { code, out } = await millrace(
    'invoke',
    'echo',
    '--async',
    '--priority',
    '9',
    '--order-key',
    'k',
    '--delay',
    '1m',
  );
  const [id, location] = out.trim().split('\n');
  expect([code, location]).toEqual([exitCodes.ok, `/invocations/${id}`]);
  const json = await millrace('invoke', 'echo', '--async', '--json');
  expect(JSON.parse(json.out)).toMatchObject({ callId: 'c', durability: 'disk' });
});

test('invoke --wait prints the result as soon as there is one', async () => {
  const running = millrace('invoke', 'echo', '--wait', '20s');
  const { signal } = new AbortController();
  const [lease] = await queue.lease('echo.openfaas-fn', 1, { ttlMs: 30_000, waitMs: 10_000, signal });
  if (!lease) throw new Error('nothing came');
  await queue.settle(lease.receipt, { kind: 'ack', result: { status: 200, headers: {}, body: Buffer.from('later') } });
  expect(await running).toMatchObject({ code: exitCodes.ok, out: 'later' });
});

test('invoke --wait gives up in time and says how to go on', async () => {
  const { code, error } = await millrace('invoke', 'echo', '--wait', '50ms');
  expect(code).toBe(exitCodes.failed);
  expect(error).toContain('millrace invocations result ');
});

test('what is wrong on the command line ends with 2 and says what was expected', async () => {
  for (const [words, expected] of [
    [['invoke', 'a b'], 'expected NAME or NAME.NAMESPACE'],
    [['invoke', 'echo', '--wait', 'soon'], 'expected a duration'],
    [['invoke', 'echo', '--delay', '1m'], 'add --async or --wait'],
    [['invoke', 'echo', '--priority', '10', '--async'], 'from 0 to 9'],
    [['invoke', 'echo', '--header', 'nonsense'], 'expected "Name: value"'],
    [['invoke', 'echo', '--data', 'a', '--file', 'b'], 'not both'],
    [['invoke', 'echo', '--file', '/nowhere/at/all'], '--file:'],
    [['functions', '--url', 'ftp://x'], 'expected http://HOST:PORT'],
    [['functions', '--url', 'http://a:b@x'], 'MILLRACE_PASSWORD'],
    [['functions', '--password-file', '/nowhere'], '--password-file'],
    [['dead-letters', 'replay'], 'say which'],
    [['dead-letters', 'replay', 'x', '--all'], 'say which'],
    [['dead-letters', 'replay', '--all', '--header', 'a: b'], 'name their ids'],
    [['dead-letters', 'purge'], 'say which'],
    [['dead-letters', 'purge', '--all'], 'add --yes'],
  ] as const) {
    const { code, error } = await millrace(...words);
    expect([code, error], words.join(' ')).toEqual([exitCodes.usage, expect.stringContaining(expected)]);
  }
});

test('a gateway that does not run ends with 3 and says what to start', async () => {
  const { code, error, out } = await millrace('functions', '--url', 'http://127.0.0.1:1');
  expect([code, out]).toEqual([exitCodes.unreachable, '']);
  expect(error).toBe(
    'millrace: nothing listens on http://127.0.0.1:1: is the gateway running? Start it with `millrace serve`, or say where it is by --url or MILLRACE_URL',
  );
  expect((await millrace('functions', '--url', 'http://no-such-host.invalid')).error).toContain('check --url');
});

test('with --json an error is one line of JSON on standard error, with the code of the gateway', async () => {
  const away = await millrace('functions', '--json', '--url', 'http://127.0.0.1:1');
  expect([away.code, away.out]).toEqual([exitCodes.unreachable, '']);
  expect(JSON.parse(away.error)).toEqual({
    error: { message: expect.stringContaining('nothing listens'), exitCode: exitCodes.unreachable },
  });
  const missing = await millrace('queues', 'pause', 'ecko', '--json');
  expect(JSON.parse(missing.error)).toEqual({
    error: {
      message: expect.stringContaining('did you mean'),
      exitCode: exitCodes.notFound,
      code: 'queue.unknown',
      status: 404,
    },
  });
});

test('missing or wrong credentials end with 5; the password comes from a file or the environment', async () => {
  const guarded = await startApi({ auth: { basic: { user: 'ops', password: 'secret' } } });
  try {
    const url = ['--url', guarded.url];
    expect((await millrace('functions', ...url)).code).toBe(exitCodes.unauthorized);
    const none = await millrace('functions', ...url);
    expect(none.error).toMatch(/wants credentials.*`millrace token create`.*MILLRACE_TOKEN.*MILLRACE_PASSWORD/);
    vi.stubEnv('MILLRACE_TOKEN', 'wrong');
    expect((await millrace('functions', ...url)).error).toContain('does not take these credentials');
    vi.unstubAllEnvs();
    const file = join(folder, 'password');
    await writeFile(file, 'secret\n');
    expect((await millrace('functions', '--user', 'ops', '--password-file', file, ...url)).code).toBe(exitCodes.ok);
    vi.stubEnv('MILLRACE_USER', 'ops');
    vi.stubEnv('MILLRACE_PASSWORD', 'secret');
    expect((await millrace('functions', ...url)).code).toBe(exitCodes.ok);
  } finally {
    await guarded.close();
  }
});

test('a token comes from a file or the environment, goes to the routes of the gateway, and must allow it', async () => {
  const token = createToken();
  const config = { name: 'ops', digest: digestOf(token), scopes: ['operate'], namespaces: ['openfaas-fn'] } as const;
  const seen: unknown[] = [];
  const guarded = await startApi({
    auth: { tokens: [config] },
    functions: { 'echo.openfaas-fn': 'token' },
    routes: (routes) =>
      routes.add({
        methods: ['POST'],
        path: '/function/closed',
        auth: 'function',
        handle: ({ headers: { authorization } }, response) => {
          seen.push(authorization);
          const reply = new Reply(response);
          if (authorization) reply.send('it ran');
          else reply.code(401).header('x-openfaas-internal', 'millrace').send('invalid credentials');
        },
      }),
  });
  try {
    const url = ['--url', guarded.url];
    const file = join(folder, 'token');
    await writeFile(file, `${token}\n`);
    expect((await millrace('functions', ...url)).error).toContain('MILLRACE_TOKEN');
    expect((await millrace('functions', '--token-file', file, ...url)).code).toBe(exitCodes.ok);
    vi.stubEnv('MILLRACE_TOKEN', 'another');
    expect((await millrace('functions', '--token-file', file, ...url)).code).toBe(exitCodes.ok);
    expect((await millrace('functions', ...url)).code).toBe(exitCodes.unauthorized);
    vi.stubEnv('MILLRACE_TOKEN', token);
    expect((await millrace('queues', ...url)).code).toBe(exitCodes.ok);
    const waiting = message();
    await guarded.queues.get('default')?.enqueue([waiting]);
    expect((await millrace('invocations', 'get', waiting.id, ...url)).code).toBe(exitCodes.ok);
    const refused = await millrace('invoke', 'closed', ...url);
    expect([refused.code, refused.error]).toEqual([exitCodes.unauthorized, expect.stringContaining('--auth')]);
    expect((await millrace('invoke', 'closed', '--auth', ...url)).out).toBe('it ran');
    expect(seen).toEqual([undefined, `Bearer ${token}`]);
  } finally {
    await guarded.close();
  }
});

test('what the credentials do not allow ends with 5, and says what is missing', async () => {
  const token = createToken();
  const config = { name: 'ci', digest: digestOf(token), scopes: ['deploy'], namespaces: ['*'] } as const;
  const guarded = await startApi({ auth: { tokens: [config] } });
  try {
    vi.stubEnv('MILLRACE_TOKEN', token);
    const { code, error } = await millrace('queues', '--url', guarded.url);
    expect([code, error]).toEqual([
      exitCodes.unauthorized,
      'millrace: insufficient permissions: this takes operate (request.forbidden); a token with that scope: `millrace token create`',
    ]);
  } finally {
    await guarded.close();
  }
});

test('queues: what waits at every level, and pause and resume', async () => {
  await queue.enqueue([message()]);
  const { out } = await millrace('queues');
  expect(out).toMatch(/function\s+echo\.openfaas-fn\s+default\s+1\s/);
  expect(out).toMatch(/provider\s+pool\s+worker/);
  expect(await millrace('queues', 'pause', 'echo')).toMatchObject({ out: 'paused: echo.openfaas-fn on default\n' });
  expect((await millrace('queues')).out).toContain('paused');
  const resumed = await millrace('queues', 'resume', 'echo', '--json');
  expect(JSON.parse(resumed.out)).toMatchObject({ name: 'echo.openfaas-fn', paused: false });
  const unknown = await millrace('queues', 'pause', 'ecko');
  expect([unknown.code, unknown.error]).toEqual([exitCodes.notFound, expect.stringContaining('did you mean')]);
  const rows = JSON.parse((await millrace('queues', '--json')).out) as { name: string }[];
  expect(rows.map(({ name }) => name)).toEqual(['echo.openfaas-fn', 'slow.openfaas-fn', 'pool']);
});

test('invocations get and cancel', async () => {
  const made = message();
  await queue.enqueue([made]);
  const got = await millrace('invocations', 'get', made.id);
  expect([got.code, got.out]).toEqual([exitCodes.ok, expect.stringMatching(/state\s+queued/)]);
  const cancelled = await millrace('invocations', 'cancel', made.id);
  expect([cancelled.code, cancelled.out]).toEqual([exitCodes.ok, `${made.id} is cancelled\n`]);
  const after = await millrace('invocations', 'get', made.id, '--json', '--wait', '1s');
  expect([after.code, JSON.parse(after.out).state]).toEqual([exitCodes.failed, 'cancelled']);
  expect((await millrace('invocations', 'get', 'nothing')).code).toBe(exitCodes.notFound);
  const result = message();
  await queue.enqueue([result]);
  const { receipt } = await leaseOne(queue);
  await queue.settle(receipt, { kind: 'ack', result: { status: 200, headers: {}, body: Buffer.from('done') } });
  expect((await millrace('invocations', 'result', result.id)).out).toBe('done');
});

test('dead letters: list and show, without control characters of strangers', async () => {
  const base = message();
  const id = await kill(queue, {
    body: Buffer.from('line one\n\u001b[2Jline two'),
    envelope: { ...base.envelope, headers: { cookie: 'canary' } },
  });
  const listed = await millrace('dead-letters', 'list');
  expect(listed.out).toMatch(new RegExp(`${id}\\s+echo\\.openfaas-fn\\s+max_attempts\\s+1`));
  const shown = await millrace('dead-letters', 'show', id);
  expect(shown.out).toContain('it threw');
  expect(shown.out).toContain('  line one\n  line two');
  expect(shown.out).not.toContain('canary');
  expect(JSON.parse((await millrace('dead-letters', 'list', '--json')).out).items).toHaveLength(1);
  expect(JSON.parse((await millrace('dead-letters', 'show', id, '--json')).out).id).toBe(id);
  expect((await millrace('dead-letters', 'show', id, '--body')).out).toContain('line one');
  expect((await millrace('dead-letters', 'show', 'x')).code).toBe(exitCodes.notFound);
  await expect(millrace('dead-letters', 'list', '--reason', 'why')).rejects.toThrow('Allowed choices are max_attempts');
  expect((await millrace('dead-letters', 'list', '--reason', 'loop')).out).toBe('no dead letters\n');
});

test('dead letters: replay of single ones, with changes; what fails is named and decides the exit code', async () => {
  const id = await kill(queue);
  const file = join(folder, 'body');
  await writeFile(file, 'fixed');
  const words = ['--header', 'X-Fixed: yes', 'Content-Type:', '--body-file', file, '--to', 'slow', '--json'];
  const { code, out } = await millrace('dead-letters', 'replay', id, 'unknown-id', ...words);
  expect(code).toBe(exitCodes.notFound);
  const { replayed, failed } = JSON.parse(out);
  expect(replayed).toMatchObject([{ letter: id }]);
  expect(failed).toMatchObject([{ id: 'unknown-id' }]);
  const { message: again } = await leaseOne(queue, 'slow.openfaas-fn');
  expect([Buffer.from(again.body).toString(), again.envelope.headers]).toEqual(['fixed', { 'x-fixed': 'yes' }]);
});

test('dead letters: replay and purge by filter', async () => {
  for (let index = 0; index < 5; index++) await kill(queue);
  await kill(queue, { lane: 'slow.openfaas-fn' });
  const some = await millrace('dead-letters', 'replay', '--function', 'echo', '--limit', '3');
  expect([some.code, some.out]).toEqual([exitCodes.ok, 'replayed 3; 2 more match: run it again\n']);
  const rest = await millrace('dead-letters', 'replay', '--function', 'echo', '--json');
  expect(JSON.parse(rest.out)).toEqual({ replayed: 2, failed: [], left: 0 });
  const purged = await millrace('dead-letters', 'purge', '--reason', 'max_attempts', '--yes');
  expect([purged.code, purged.out]).toEqual([exitCodes.ok, 'deleted 1\n']);
  const id = await kill(queue, { lane: 'slow.openfaas-fn' });
  expect((await millrace('dead-letters', 'purge', id, '--yes', '--json')).out).toContain('"purged": 1');
});

test('a bulk replay that is cut off says how to go on', async () => {
  for (let index = 0; index < 3; index++) await kill(queue);
  const original = queue.deadLetters.replay.bind(queue.deadLetters);
  let calls = 0;
  queue.deadLetters.replay = async (...given) => {
    if (++calls === 2) api.server.closeAllConnections();
    await new Promise((resolve) => setTimeout(resolve, 150));
    return original(...given);
  };
  const { code, error } = await millrace('dead-letters', 'replay', '--all');
  expect([code, error]).toEqual([exitCodes.failed, expect.stringContaining('run the same command again')]);
  await expect.poll(() => calls).toBe(2);
  queue.deadLetters.replay = original;
  await new Promise((resolve) => setTimeout(resolve, 200));
  const again = await millrace('dead-letters', 'replay', '--all', '--json');
  expect(JSON.parse(again.out)).toEqual({ replayed: 1, failed: [], left: 0 });
});

test('text of strangers is fit for a terminal', () => {
  expect(printable('a\r\nb\u001b[31mred\u0007')).toBe('a bred ');
  expect(printable('x'.repeat(200), 10)).toBe('xxxxxxxxx…');
  expect([age(0), age(0.2), age(59), age(90), age(3700), age(90_000)]).toEqual([
    '-',
    '<1s',
    '59s',
    '1m30s',
    '1h1m',
    '1d1h',
  ]);
});

test('the help has every exit code', () => {
  for (const code of Object.values(exitCodes)) expect(exitCodeHelp).toMatch(new RegExp(`^  ${code}  `, 'm'));
});
