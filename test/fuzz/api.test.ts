import fc from 'fast-check';
import { Pool } from 'undici';
import { afterAll, beforeAll, expect } from 'vitest';
import { errorCodes } from '../../core/contracts/errors.ts';
import { isId } from '../../core/delivery/ids.ts';
import { startApi, type TestApi } from '../api/api-server.ts';
import { fuzz } from './fuzz.ts';
import { jsonText, nearly, noise } from './inputs.ts';
import { times } from '../support/promise.ts';

let api: TestApi;
let callers: Pool;
beforeAll(async () => {
  api = await startApi();
  callers = new Pool(api.url, { connections: 1 });
});
afterAll(async () => {
  await callers.close();
  await api.close();
});

interface Sent {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly body?: string;
}
interface Answered {
  readonly status: number;
  readonly text: string;
}

/** What Node does with bytes that are no HTTP is shown by `test/api/hostile.test.ts`. */
async function ask({ method, path, body }: Sent): Promise<Answered> {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const spelled = path.toWellFormed().replaceAll(/[^\u0021-\u007e]+/g, encodeURIComponent);
  const answer = await callers.request({ method, path: spelled, headers, body: body ?? null });
  return { status: answer.statusCode, text: await answer.body.text() };
}

/** An answer is what was asked for, or a refusal with a code of the table: never a bug, which would be a 500. */
function isAnswer({ status, text }: Answered): void {
  expect([status, text.slice(0, 200)]).toEqual([
    expect.toSatisfy((one: number) => one < 500 || one === 503),
    expect.anything(),
  ]);
  if (status < 400) return;
  const { code } = (JSON.parse(text) as { error: { code: string } }).error;
  expect(Object.keys(errorCodes)).toContain(code);
}

const deployment = JSON.stringify({
  service: 'hello',
  image: 'hello:1',
  namespace: '',
  envVars: { A: '1' },
  labels: { 'com.openfaas.scale.min': '1' },
  annotations: null,
  secrets: ['key'],
  limits: { memory: '64Mi' },
  readOnlyRootFilesystem: true,
});
const bodies = fc.oneof(
  nearly(
    deployment,
    '{"functionName":"echo"}',
    '{"serviceName":"echo","replicas":2}',
    '{"alerts":[{"status":"firing","labels":{"function_name":"echo"}}]}',
    '{"name":"key","namespace":"","value":"x","rawValue":"eA=="}',
    '{"name":"dev","labels":{},"annotations":{}}',
    '{"filter":{"function":"echo","reason":"crashed"}}',
  ),
  jsonText,
);
const changing = [
  ['POST', '/system/functions'],
  ['PUT', '/system/functions'],
  ['DELETE', '/system/functions'],
  ['POST', '/system/scale-function/echo'],
  ['POST', '/system/alert'],
  ['POST', '/system/secrets'],
  ['PUT', '/system/secrets'],
  ['DELETE', '/system/secrets'],
  ['POST', '/system/namespace/dev'],
  ['POST', '/system/dead-letters/replay'],
  ['POST', '/system/dead-letters/purge'],
] as const;

const runs = times(10_000, 100_000);

fuzz<Sent, Answered>({
  name: 'a body of the management API',
  runs,
  inputs: fc.tuple(fc.constantFrom(...changing), bodies).map(([[method, path], body]) => ({ method, path, body })),
  parse: ask,
  holds: isAnswer,
  // A handler that trusts what it is sent.
  planted: async ({ body = '' }) => {
    try {
      return { status: 200, text: String((JSON.parse(body) as { service: string }).service.length) };
    } catch (error) {
      return { status: error instanceof SyntaxError ? 200 : 500, text: '{}' };
    }
  },
});

const cursor = Buffer.from(JSON.stringify({ default: '5', second: null })).toString('base64url');
const queries = fc.oneof(
  nearly(
    `limit=2&cursor=${cursor}`,
    'function=echo&reason=crashed',
    'limit=1000000',
    'wait=30s',
    'name=echo&tail=5&since=2026-11-28T00:00:00Z',
  ),
  jsonText.map((text) => `cursor=${Buffer.from(text).toString('base64url')}`),
  noise.map(encodeURIComponent),
);
const ids = fc
  .oneof(nearly('01JZ8Y4TQ3M4V5W6X7Y8Z9ABCD'), noise)
  .map((text) => encodeURIComponent(text.toWellFormed()));
const paths = fc.oneof(
  ids.map((id) => `/invocations/${id}`),
  ids.map((id) => `/invocations/${id}/result`),
  ids.map((id) => `/system/dead-letters/${id}`),
  ids.map((id) => `/system/function/${id}`),
  fc.constantFrom('/system/dead-letters', '/system/queues', '/system/functions', '/system/logs', '/system/namespaces'),
);

fuzz<Sent, Answered>({
  name: 'the path and query of the management API',
  runs,
  inputs: fc
    .tuple(fc.constantFrom('GET' as const, 'DELETE' as const), paths, queries)
    .map(([method, path, query]) => ({ method, path: `${path}?${query}` })),
  parse: ask,
  holds: isAnswer,
  // A cursor that is read without a look at it.
  planted: async ({ path }) => {
    const given = new URLSearchParams(path.split('?')[1]).get('cursor') ?? '{}';
    try {
      return {
        status: 200,
        text: String(Object.keys(JSON.parse(Buffer.from(given, 'base64url').toString()) as object)),
      };
    } catch {
      return { status: 500, text: '' };
    }
  },
});

fuzz({
  name: 'an id of an invocation',
  inputs: fc.oneof(nearly('01JZ8Y4TQ3M4V5W6X7Y8Z9ABCD', '01JZ8Y4TQ3M4V5W6X7Y8Z9ABCD\n'), noise),
  parse: isId,
  holds: (ok, text) => {
    if (ok) expect(Buffer.from(text).length).toBe(26);
    expect(ok).toBe(
      [...text].every((letter) => '0123456789ABCDEFGHJKMNPQRSTVWXYZ'.includes(letter)) &&
        text.length === 26 &&
        text < '8',
    );
  },
  // Without an end: the dollar sign alone would take a line break as well.
  planted: (text) => /^[0-7][0-9A-HJKMNP-TV-Z]{25}/.test(text),
});
