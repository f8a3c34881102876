import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeOnMachine } from '../chaos/machine/needs.ts';
import { Example, fileOf, patient } from '../support/example.ts';

const sample = (name: string): Promise<string> => readFile(fileOf('python', `samples/${name}`), 'utf8');
const summary = {
  celsius: { count: 3, mean: 5.2, min: 4.5, max: 6 },
  wind: { count: 3, mean: 20, min: 12, max: 30 },
};

await describeOnMachine('python', { programs: ['python3'], packages: ['python3'] }, () => {
  let example: Example;
  beforeAll(async () => {
    example = await Example.start('python');
  }, 60_000);
  afterAll(() => example[Symbol.asyncDispose]());
  const post = async (path: string, body: string): Promise<Response> =>
    fetch(`${example.url}/${path}`, { method: 'POST', body });

  it('python: a program answers what it writes; its traceback and exit code are the dead letter', async () => {
    const answer = await post('function/summary', await sample('weather.csv'));
    expect(answer.headers.get('content-type')).toBe('application/json');
    expect(await answer.json()).toEqual(summary);

    const accepted = await post('async-function/summary', await sample('torn.csv'));
    expect(accepted.status).toBe(202);
    const failed = await example.result(accepted.headers.get('x-invocation-id') ?? '');
    expect(failed.status).toBe(500);
    const said = await failed.text();
    expect(said).toMatch(/^exit status 1\nTraceback \(most recent call last\):\n/);
    const [letter] = await example.letters();
    expect(letter).toMatchObject({ function: 'summary.openfaas-fn', reason: 'max_attempts', attempt: 2 });
    for (const { code, message } of letter?.errors ?? []) {
      expect(code).toBe('function.failed');
      expect(message).toMatch(/^exit status 1: ValueError: line 3, column wind: a number, got 'strong'\n/);
      expect(message).toContain('functions/summary.py", line ');
    }

    const mended = await example.result(await example.replay(letter?.id, 'samples/weather.csv'));
    expect(await mended.json()).toEqual(summary);
    await expect.poll(() => example.letters(), patient).toEqual([]);
    const empty = await post('function/summary', '');
    expect([empty.status, await empty.text()]).toEqual([500, 'exit status 1\nthe request has no header line\n']);
  });

  it('python: a program that streams answers while it is still being asked', async () => {
    const request = httpRequest(`${example.url}/function/redact`, { method: 'POST' });
    request.write('ada@example.org paid\n');
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    const [first] = (await once(response, 'data')) as [Buffer];
    expect(first.toString()).toBe('[redacted] paid\n');
    request.end('with 4111 1111 1111 1111\n');
    expect(await text(response)).toBe('with [redacted]\n');
  });
});
