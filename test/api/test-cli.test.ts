import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, it } from 'vitest';
import { inlinePlugin } from '../support/gateway.ts';

const root = join(import.meta.dirname, '../..');

const gateway = `plugins: ['${inlinePlugin}']
queues: { default: { kind: sqlite, path: never-made.db } }
connections: { main: { kind: nats, servers: "\${NATS_URL:?set it}" } }
providers: { inline: { kind: inline-test } }
functions:
  charge: { behaviour: never, invoke: { retry: { attempts: 3 } } }
  audit: { behaviour: never }
connectors:
  orders:
    kind: jetstream
    stream: S
    durable: d
    function: charge
    filters: [{ any: [{ exact: { type: order.created } }, { prefix: { type: order.up } }] }]
    map: '{ "customerId": data.cust, "amount": data.total }'
    order: { key: data.cust }
    batch: { size: 10, window: 50ms }
    reply: { to: orders.charged.v1, key: data.cust }
  both: { kind: jetstream, stream: S, durable: e, functions: [charge, audit], maxAge: 1h }
`;
const event = 'headers: { ce-specversion: "1.0", ce-type: order.created }';
const right = `
  - name: small order is mapped, keyed and retried once on 503
    connector: orders
    env: { NATS_URL: nats://127.0.0.1:1 }
    input: { key: k1, ${event}, body: { cust: c9, total: 12 } }
    function: { responses: [{ status: 503 }, { status: 200, body: { ok: true } }] }
    expect:
      invocations: 2
      orderKey: c9
      request: [{ customerId: c9, amount: 12 }]
      headers: { content-type: application/json }
      settled: ack
      deadLetter: false
      published: [{ to: orders.charged.v1, key: c9, body: { ok: true } }]
  - name: a permanent error is a dead letter
    connector: orders
    input: { ${event}, body: {} }
    function: { responses: [{ status: 422 }] }
    expect: { invocations: 1, settled: ack, deadLetter: { reason: permanent } }
  - { name: others are passed over, connector: orders, input: { body: {} }, expect: { invocations: 0, settled: ack } }
  - name: two come as one batch
    connector: orders
    input: [{ ${event}, body: { cust: a, total: 1 } }, { ${event}, body: { cust: a, total: 2 } }]
    expect: { invocations: 1, request: [{ customerId: a, amount: 1 }, { customerId: a, amount: 2 }] }
  - name: both get it, thrice where it fails
    connector: both
    input: { body: x }
    function: { responses: [{ status: 500 }] }
    expect: { invocations: 8, functions: [audit, charge], deadLetter: { reason: max_attempts } }
  - { name: old, connector: both, input: { body: x, age: 2h }, expect: { invocations: 0, deadLetter: { reason: expired } } }
`;
const wrong = `
  - name: wrong
    connector: orders
    input: { ${event}, body: { cust: c9 } }
    expect: { invocations: 2, settled: retry, deadLetter: {}, published: [], orderKey: c8 }
  - { name: nowhere, connector: ordersx, input: {}, expect: {} }
`;

async function run(tests: string, ...more: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-tests-')), 'millrace.yaml');
  writeFileSync(file, `${gateway}${tests === '' ? '' : `tests:${tests}`}`);
  const env = {
    PATH: process.env['PATH'],
    NO_COLOR: '1',
    ...(tests.includes('NATS_URL') ? {} : { NATS_URL: 'nats://x' }),
  };
  const child = spawn(process.execPath, ['core/main.ts', 'test', file, ...more], { cwd: root, env });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { out, err, code: code as number | null };
}

it('millrace test runs messages through the configuration, with no broker and no function', async () => {
  const { code, out, err } = await run(right);
  expect(`${err}${out}`).toMatch(/^(ok .+\n){6}6 passed, 0 failed\n$/);
  expect(code).toBe(0);
}, 30_000);

it('millrace test says what came out otherwise', async () => {
  const { code, out } = await run(wrong);
  expect(out.split('\n')).toEqual([
    'failed wrong',
    '  invocations: expected 2, got 1',
    '  orderKey: expected "c8", got "c9"',
    '  settled: expected "retry", got "ack"',
    '  deadLetter: expected one, got none',
    '  published: expected 0, got 1',
    'failed nowhere',
    '  no connector "ordersx"',
    '0 passed, 2 failed',
    '',
  ]);
  expect(code).toBe(1);
  const json = JSON.parse((await run(wrong, '--json', '--name', 'nowhere')).out) as unknown;
  expect(json).toMatchObject({ passed: 0, failed: 1, results: [{ name: 'nowhere' }] });
}, 30_000);

it('millrace test without tests says so', async () => {
  const { code, err } = await run('');
  expect(err).toContain('there are no tests');
  expect(code).toBe(2);
}, 30_000);
