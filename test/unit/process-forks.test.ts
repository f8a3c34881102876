import { spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { Headers } from '../../core/contracts/invocation.ts';
import { script } from '../contract/process-bench.ts';
import { gone, send, setup, textOf } from '../support/process-calls.ts';
import { childrenOf, isRunning } from '../support/processes.ts';

const megabyte = 1024 * 1024;

function stream(bytes: Buffer): Readable {
  return Readable.from(
    Array.from({ length: Math.ceil(bytes.length / 50_000) }, (_each, index) =>
      bytes.subarray(index * 50_000, (index + 1) * 50_000),
    ),
    { objectMode: false },
  );
}

describe('the answer of a command', () => {
  it('is its output, joined with stderr in the order in which both were written', async () => {
    const bench = await setup();
    const entry = await bench.deployReady(
      'f.test',
      script('for n in 1 2 3 4 5 6 7 8 9; do echo out; echo err >&2; done'),
    );
    expect(await textOf(await send(entry))).toBe('out\nerr\n'.repeat(9));
    expect(bench.logs.map(({ text }) => text)).toEqual([
      expect.stringMatching(/^Wrote 72 Bytes - Duration: \d+\.\d{6}s$/),
    ]);
  });
  it('is without stderr where that is for the log, line by line with the id of the call', async () => {
    const bench = await setup();
    const config = { ...script('echo one >&2; echo out; printf two >&2'), combineOutput: false };
    const entry = await bench.deployReady('f.test', config);
    expect(await textOf(await send(entry, { callId: 'the-call' }))).toBe('out\n');
    const lines = bench.logs.filter(({ callId }) => callId === 'the-call');
    expect(lines.map(({ text }) => text).slice(0, 2)).toEqual(['stderr: one', 'stderr: two']);
    expect(lines[0]?.instance).toMatch(/^f\.test-\d+$/);
  });
  it('is logged as well with write_debug, and lines have no prefix without prefix_logs', async () => {
    const bench = await setup();
    const config = { ...script('echo one; echo two; echo err >&2'), combineOutput: false };
    const entry = await bench.deployReady('f.test', config, { write_debug: 'true', prefix_logs: 'false' });
    await send(entry);
    expect(bench.logs.map(({ text }) => text).sort()).toEqual([
      expect.stringMatching(/^Duration: /),
      'err',
      'one',
      'two',
    ]);
  });
  it('is an error of its own when it exits with a code, and a crash when a signal ends it', async () => {
    const bench = await setup();
    const failing = await send(await bench.deployReady('a.test', script('echo oops >&2; exit 3')));
    expect(failing).toMatchObject({ status: 500, failure: undefined, error: { code: 'function.failed' } });
    expect(await textOf(failing)).toBe('exit status 3\noops\n');
    expect(failing.error?.message).toBe('exit status 3: oops');
    const chatty = await send(await bench.deployReady('c.test', script('seq 1000; echo the reason; exit 1')));
    expect(chatty.error?.message).toMatch(/^exit status 1: the reason\n[^]{900,1000}\nthe reason$/);
    const silent = await send(await bench.deployReady('d.test', script('exit 4')));
    expect(silent.error?.message).toBe('exit status 4');
    const crashed = await send(await bench.deployReady('b.test', script('kill -SEGV $$')));
    expect(crashed).toMatchObject({ status: 502, failure: 'crash', error: { code: 'function.crashed' } });
    expect(crashed.error?.message).toContain('SIGSEGV');
  });
  it('has the type that the function says, else that of the request', async () => {
    const bench = await setup();
    const echo = await bench.deployReady('a.test', { command: 'cat' });
    const typed = await bench.deployReady('b.test', { command: 'cat' }, { content_type: 'text/csv' });
    const headers = { 'content-type': 'application/json' };
    expect((await send(echo, { headers })).headers['content-type']).toBe('application/json');
    expect((await send(echo)).headers).toEqual({});
    expect((await send(typed, { headers })).headers['content-type']).toBe('text/csv');
  });
  it('breaks off when it streams and the command fails after its first bytes', async () => {
    const bench = await setup();
    const config = { ...script('echo begun; sleep 0.2; exit 1'), mode: 'streaming' };
    const outcome = await send(await bench.deployReady('f.test', config));
    expect(outcome.status).toBe(200);
    await expect(textOf(outcome)).rejects.toThrow('exit status 1');
    const early = await bench.deployReady('g.test', { ...script('exit 1'), mode: 'streaming' });
    expect((await send(early)).status).toBe(500);
  });
  it('comes whole when it streams to a reader who is slower than the command', async () => {
    const bench = await setup();
    const config = { ...script('head -c 150000 /dev/zero'), mode: 'streaming' };
    const { body } = await send(await bench.deployReady('f.test', config));
    let read = 0;
    for await (const chunk of body as Readable) {
      if (read === 0) await new Promise((resolve) => setTimeout(resolve, 1500));
      read += (chunk as Buffer).length;
    }
    expect(read).toBe(150_000);
  });
});

describe('the environment of a command', () => {
  const variablesOf = async (env: Readonly<Record<string, string>>, headers: Headers): Promise<Map<string, string>> => {
    const bench = await setup();
    const text = await textOf(await send(await bench.deployReady('f.test', { command: 'env' }, env), { headers }));
    return new Map(
      text
        .trimEnd()
        .split('\n')
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  };
  it("is the function's own and what is told of the request, and nothing else of the gateway's", async () => {
    process.env['MILLRACE_TEST_CANARY'] = 'secret';
    const variables = await variablesOf({ GREETING: 'hello' }, { 'x-a': '1' });
    // The last ones are of the shell that joins the streams.
    const known = new Set(['PATH', 'HOME', 'LANG', 'TZ', 'PWD', 'OLDPWD', 'SHLVL', '_']);
    const names = [...variables.keys()].filter((name) => !name.startsWith('Http_') && !known.has(name));
    expect(names).toEqual(['GREETING']);
    expect(variables.get('Http_X_A')).toBe('1');
    expect(process.env['MILLRACE_TEST_CANARY']).toBe('secret');
  });
  it('is never overwritten by a header', async () => {
    const variables = await variablesOf({ Http_X_Role: 'operator' }, { 'x-role': 'caller', 'ld-preload': '/evil.so' });
    expect(variables.get('Http_X_Role')).toBe('operator');
    expect(variables.has('LD_PRELOAD')).toBe(false);
  });
  it('tells nothing of the request without cgi_headers', async () => {
    const variables = await variablesOf({ cgi_headers: 'false' }, { 'x-a': '1' });
    expect([...variables.keys()].filter((name) => name.startsWith('Http_'))).toEqual([]);
  });
  it('that is larger than the system takes is refused with a word, whole or in one header', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', { command: 'env' });
    const many = Object.fromEntries(Array.from({ length: 100 }, (_each, index) => [`x-${index}`, 'x'.repeat(100_000)]));
    for (const headers of [{ 'x-large': 'x'.repeat(200_000) }, many]) {
      const outcome = await send(entry, { headers });
      expect(outcome).toMatchObject({ status: 400, failure: 'refused', error: { code: 'request.invalid' } });
    }
    expect((await send(entry)).status).toBe(200);
  });
});

describe('a hostile command', () => {
  it('cannot block a call by pipes that fill in both directions', async () => {
    const bench = await setup({ maxOutput: '64MiB' });
    const entry = await bench.deployReady('f.test', { command: 'cat' });
    const bytes = Buffer.alloc(16 * megabyte, 'abcdefg');
    const outcomes = await Promise.all([send(entry, { body: bytes }), send(entry, { body: stream(bytes) })]);
    for (const { body } of outcomes) expect(bytes.equals(body as Buffer)).toBe(true);
  });
  it.each([
    ['closes its stdin', 'exec 0<&-; echo hi; sleep 0.1'],
    ['never reads', 'echo hi; sleep 0.1'],
    ['reads one line', 'read line; echo hi'],
  ])('that %s answers all the same, and the sender is read to the end', async (_what, text) => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', script(text));
    const bytes = Buffer.alloc(4 * megabyte, 'line\n');
    const body = stream(bytes);
    for (const outcome of [await send(entry, { body: bytes }), await send(entry, { body })]) {
      expect(await textOf(outcome)).toBe('hi\n');
    }
    await expect.poll(() => body.readableEnded).toBe(true);
  });
  it('that leaves children behind is over when it ends, and they end with it', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', script('sleep 600 & echo $!'));
    const pid = Number(await textOf(await send(entry)));
    await gone(pid);
  });
  it('that takes a child out of its group cannot keep the call open', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', script('setsid sleep 600 & echo $!; sleep 0.2'));
    const pid = Number(await textOf(await send(entry)));
    expect(isRunning(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
  });
  it('that does not stop writing is ended at the limit of an answer', async () => {
    const bench = await setup({ maxOutput: '1MiB' });
    const entry = await bench.deployReady('f.test', script('echo $$ >&2; exec yes'), {});
    const outcome = await send(entry);
    expect(outcome).toMatchObject({ status: 502, error: { code: 'function.bad-response' } });
    await expect.poll(() => childrenOf(process.pid).length).toBe(1); // The reaper.
  });
  it('has its log lines cut where it writes none', async () => {
    const bench = await setup();
    const config = { ...script('head -c 300000 /dev/zero | tr "\\0" x >&2'), combineOutput: false };
    await send(await bench.deployReady('f.test', config));
    const lines = bench.logs.filter(({ text }) => text.startsWith('stderr: '));
    expect(lines.map(({ text }) => text.length)).toEqual([65_544, 65_544, 65_544, 65_544, 300_000 - 4 * 65_536 + 8]);
  });
  it('that begins to write when nobody waits any more ends all the same', async () => {
    const bench = await setup();
    const config = { ...script(`trap 'exec yes' TERM; sleep 600 & wait`), mode: 'streaming' };
    expect((await send(await bench.deployReady('f.test', config), { timeoutMs: 300 })).failure).toBe('timeout');
    await bench.provider.stop(600_000); // In time for this test only if nothing has to be waited for.
    await expect.poll(() => childrenOf(process.pid)).toEqual([]);
  });
  it('that does not heed SIGTERM is killed after the grace, with what it began', async () => {
    const bench = await setup();
    const text = `trap '' TERM; sh -c 'trap "" TERM; sleep 600 & wait' & echo "$$ $!" >&2; sleep 600 & wait; wait; wait`;
    const entry = await bench.deployReady('f.test', { ...script(text), combineOutput: false });
    const outcome = await send(entry, { timeoutMs: 1000 });
    expect(outcome).toMatchObject({ status: 504, failure: 'timeout' });
    const pids = bench.logs[0]?.text.match(/\d+/g)?.map(Number) ?? [];
    expect(pids).toHaveLength(2);
    await gone(...pids);
  });
});

describe('many commands', () => {
  it('run at once, each with its own answer', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', script('read text; sleep 0.5; echo "$text $Http_X_Number"'));
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_each, index) =>
        textOf(await send(entry, { body: Buffer.from(`${index}\n`), headers: { 'x-number': String(index) } })),
      ),
    );
    expect(answers).toEqual(answers.map((_each, index) => `${index} ${index}\n`));
  });
  it('leave neither a process nor a zombie after 1,000 timeouts', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', { command: 'sleep 600', combineOutput: false });
    let left = 1000;
    const worker = async (): Promise<void> => {
      for (; left > 0; left--) expect((await send(entry, { timeoutMs: 20 })).failure).toBe('timeout');
    };
    await Promise.all(Array.from({ length: 32 }, worker));
    await expect.poll(() => childrenOf(process.pid).length, { timeout: 20_000 }).toBe(1); // The reaper.
  }, 180_000);
  it('would be seen by that if there were zombies', async () => {
    const parent = spawn('sh', ['-c', 'true & exec sleep 600']);
    await expect.poll(() => childrenOf(parent.pid ?? 0)).toEqual([expect.objectContaining({ state: 'Z' })]);
    parent.kill('SIGKILL');
  });
});

describe('limits', () => {
  it('of calls at once are answered as the watchdog answers them', async () => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', script('sleep 0.5; echo hi'), { max_inflight: '1' });
    const [first, second] = await Promise.all([send(entry), send(entry)]);
    expect(first.status).toBe(200);
    expect(second).toMatchObject({ status: 429, failure: undefined });
    expect(second.headers).toEqual({ 'content-type': 'text/plain', 'x-openfaas-internal': 'faas-middleware' });
    expect(await textOf(second)).toBe('Concurrent request limit exceeded. Max concurrent requests: 1\n');
    await expect.poll(async () => (await send(entry)).status).toBe(200);
  });
  it.each([
    ['exec_timeout', { exec_timeout: '300ms' }, null],
    ['write_timeout', { write_timeout: '300ms' }, null],
    ['read_timeout', { read_timeout: '300ms' }, new Readable({ read: () => undefined })],
  ])('of time: %s ends a call as its deadline would', async (_what, env, body) => {
    const bench = await setup();
    const entry = await bench.deployReady('f.test', script('cat; exec sleep 600'), env);
    expect(await send(entry, { body })).toMatchObject({ status: 504, failure: 'timeout' });
    await expect.poll(() => childrenOf(process.pid).length).toBe(1);
  });
  it('of memory and time of the processor are kept by the kernel', async () => {
    const bench = await setup();
    const limits = { memory: '64MiB', cpuTime: '1s' };
    const told = await bench.deployReady('a.test', { ...script('ulimit -d; ulimit -t'), limits });
    expect(await textOf(await send(told))).toBe('65536\n1\n');
    const spinning = await bench.deployReady('b.test', { ...script('while :; do :; done'), limits });
    expect(await send(spinning)).toMatchObject({ status: 502, failure: 'crash' });
  });
  it('that nobody could keep are refused', async () => {
    const bench = await setup();
    const path = process.env['PATH'];
    process.env['PATH'] = '/nowhere';
    try {
      const deploying = bench.deployFunction('f.test', { command: '/bin/sh', limits: { memory: '64MiB' } });
      await expect(deploying).rejects.toThrow('function f.test: limits need prlimit of util-linux');
    } finally {
      process.env['PATH'] = path;
    }
  });
});

describe('a function that cannot be run', () => {
  it.each([
    ['it has no command', {}],
    ['there is no command "no-such-command" on the PATH', { command: 'no-such-command' }],
    ['is not there, or may not be executed', { command: './server.ts' }],
    ['there is no folder', { command: 'cat', cwd: 'nowhere' }],
    ['no command is known for image "me/it": add it to "images"', { image: 'me/it', envProcess: 'cat' }],
    ['upstreamUrl: expected http://127.0.0.1', { command: 'cat', mode: 'http', upstreamUrl: 'http://example.com' }],
    [
      'which only one of 2 replicas',
      { command: 'cat', mode: 'http', upstreamUrl: 'http://127.0.0.1:3000', replicas: 2 },
    ],
  ])('is refused: %s', async (text, config) => {
    const bench = await setup();
    const deploying = bench.deployFunction('f.test', config);
    await expect(deploying).rejects.toThrow(text);
    await expect(deploying).rejects.toThrow('function f.test: ');
  });
  it('runs what its image stands for, whatever its client says', async () => {
    const images = { 'ghcr.io/me/fixed': { command: 'echo fixed' }, 'ghcr.io/me/open': {} };
    const bench = await setup({ images });
    const fixed = await bench.deployReady('a.test', { image: 'ghcr.io/me/fixed:1', envProcess: 'echo mine' });
    const own = await bench.deployReady('b.test', { image: 'ghcr.io/me/open', envProcess: 'echo mine' });
    expect(await textOf(await send(fixed))).toBe('fixed\n');
    expect(await textOf(await send(own))).toBe('mine\n');
  });
});

describe('replicas of commands', () => {
  it('are what may run at once, and none means cold', async () => {
    const bench = await setup({ perReplica: 3 });
    await bench.deployReady('f.test', { command: 'cat', replicas: 2 });
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'ready', replicas: 2, capacity: 6 });
    await bench.provider.scale?.('f.test', 0);
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'cold', replicas: 0, capacity: 0 });
    await bench.provider.scale?.('f.test', 1);
    expect(bench.statuses.at(-1)).toMatchObject({ state: 'ready', replicas: 1, capacity: 3 });
    await expect(bench.provider.scale?.('g.test', 1)).rejects.toThrow('not deployed');
  });
});
