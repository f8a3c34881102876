import { sign } from '@octokit/webhooks-methods';
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Example, fileOf, patient } from '../support/example.ts';

const pushed = await readFile(fileOf('github', 'samples/push.json'), 'utf8');
const opened = await readFile(fileOf('github', 'samples/issue.json'), 'utf8');
const secrets = { push: 'p1', issues: 'i1' };

let example: Example;
beforeAll(async () => {
  example = await Example.start('github', { PUSH_SECRET: secrets.push, ISSUES_SECRET: secrets.issues });
}, 60_000);
afterAll(() => example[Symbol.asyncDispose]());

/** As GitHub sends an event to a hook; signed with the hook's secret unless another signature is given. */
async function send(
  hook: keyof typeof secrets,
  body: string,
  { event = hook, signature }: { event?: string; signature?: string } = {},
): Promise<Response> {
  const headers = {
    'content-type': 'application/json',
    'x-github-event': event,
    'x-hub-signature-256': signature ?? (await sign(secrets[hook], body)),
  };
  return fetch(`${example.url}/github/${hook}`, { method: 'POST', headers, body });
}
const idOf = (answer: Response): string => answer.headers.get('x-invocation-id') ?? '';
const runsOf = async (name: string): Promise<number> => {
  const functions = await example.json<{ name: string; invocationCount: number }[]>('/system/functions');
  return functions.find((each) => each.name === name)?.invocationCount ?? 0;
};

it('github: a signed event runs its function once, however often it comes', async () => {
  const accepted = await send('push', pushed);
  expect(accepted.status).toBe(202);
  const result = await example.result(idOf(accepted));
  expect(await result.json()).toEqual({ deployed: true, commit: '59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5' });
  expect(readFileSync(`${example.data}/wanted/acme/shop`, 'utf8')).toBe('59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5\n');
  const again = await send('push', pushed);
  expect(again.status).toBe(202);
  expect(idOf(again)).toBe(idOf(accepted));
  expect(await runsOf('push')).toBe(1);
});

it('github: what is not signed for its hook never runs', async () => {
  const other = pushed.replace('"after":"59', '"after":"00');
  const before = await runsOf('push');
  const refused = [
    await send('push', other, { signature: await sign(secrets.push, pushed) }),
    await send('push', other, { signature: await sign(secrets.issues, other) }),
    await send('push', other, { signature: 'sha256=' }),
    await fetch(`${example.url}/github/push`, { method: 'POST', body: other }),
  ];
  expect(refused.map(({ status }) => status)).toEqual([401, 401, 401, 401]);
  const direct = await fetch(`${example.url}/function/push`, { method: 'POST', body: other });
  expect(direct.status).toBe(404);
  // By then it would have run, had it been taken: it is the same lane.
  await example.result(idOf(await send('push', pushed.replace('heads/main', 'heads/topic'))));
  expect(await runsOf('push')).toBe(before + 1);
});

it('github: an event goes on to another function, a ping is answered, and a wrong event is a dead letter', async () => {
  const notices = `${example.data}/notices.ndjson`;
  await example.result(idOf(await send('issues', opened)));
  await expect
    .poll(() => existsSync(notices) && readFileSync(notices, 'utf8'), patient)
    .toContain('acme/shop#7: Crash');
  const ping = await send('issues', '{"zen":"Design for failure."}', { event: 'ping' });
  expect(await (await example.result(idOf(ping))).text()).toBe('pong\n');
  const wrong = await send('issues', '{"action":"created"}', { event: 'issue_comment' });
  expect((await example.result(idOf(wrong))).status).toBe(422);
  const [letter] = await example.letters();
  expect(letter?.errors[0]?.message).toContain('this hook is for the event issues, and got issue_comment');
  await expect.poll(() => runsOf('notify'), patient).toBe(2);
  expect(readFileSync(notices, 'utf8').trim().split('\n')).toHaveLength(1);
});
