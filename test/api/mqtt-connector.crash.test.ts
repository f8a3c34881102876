import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';
import { bodiesOf, cleanUp, publish, setUp } from '../support/mqtt-world.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';

const running: GatewayProcess[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((gateway) => stopGateway(gateway)));
  await cleanUp();
});

/** What may be at work when the gateway dies, and so run twice. */
const receiveMaximum = 20;

function configuration(
  url: string,
  version: string,
  qos: number,
  ack = 'enqueued',
): { file: string; ledger: () => string[] } {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-mqtt-crash-'));
  const ledger = join(folder, 'ledger');
  writeFileSync(ledger, '');
  writeFileSync(
    join(folder, 'write.mjs'),
    "import { appendFileSync } from 'node:fs';\n" +
      'export default (event, { env }) => appendFileSync(env.LEDGER, `${event.text()}\\n`);\n',
  );
  const file = join(folder, 'millrace.yaml');
  writeFileSync(
    file,
    `
gateway: { listen: { port: 0 }, management: { port: 0 } }
connections:
  main: { kind: mqtt, url: "${url}", version: ${version}, clientId: crash, session: { receiveMaximum: ${receiveMaximum} } }
queues: { default: { kind: sqlite, path: queue.db } }
stores: { default: { kind: memory } }
providers: { worker: { kind: worker, pool: { max: 1 } } }
functions: { write: { module: ./write.mjs, env: { LEDGER: "${ledger}" } } }
connectors: { jobs: { kind: mqtt, subscribe: [{ topic: "jobs/#", qos: ${qos} }], function: write, ack: ${ack} } }
`,
  );
  return { file, ledger: () => readFileSync(ledger, 'utf8').split('\n').filter(Boolean) };
}

async function start(file: string, env: Readonly<Record<string, string>> = {}): Promise<GatewayProcess> {
  const gateway = await startGateway(file, env);
  running.push(gateway);
  return gateway;
}

/** Killed at the point while it has 100 messages, and started again. */
async function losesNothing(point: string, version: string, qos: 1 | 2, ack: string): Promise<void> {
  const { broker, sender } = await setUp();
  const { file, ledger } = configuration(broker.url, version, qos, ack);
  const first = await start(file, { MILLRACE_FAIL: point });
  await expect.poll(() => first.log.some((line) => line.includes('crash-jobs'))).toBe(true);
  const bodies = bodiesOf(100);
  await publish(sender, bodies, { qos });
  expect(await first.ended).toBe('SIGKILL');
  await start(file);
  await expect.poll(() => new Set(ledger()).size, { timeout: 15_000 }).toBe(100);
  // What came after the others has run when these have.
  await publish(sender, ['last'], { qos });
  await expect.poll(() => ledger().includes('last'), { timeout: 15_000 }).toBe(true);
  expect(new Set(ledger())).toEqual(new Set([...bodies, 'last']));
  expect(ledger().length - 101).toBeLessThanOrEqual(receiveMaximum);
}

await describeWithOwnBroker('mqtt', 'connector mqtt, killed', () => {
  describe.each([
    ['5', 1],
    ['3.1.1', 2],
  ] as const)('version %s, QoS %i', (version, qos) => {
    // At the seventh message, or when the first ones have been acknowledged together.
    it.each(['mqtt.after-receive:7', 'accept.after-enqueue:7', 'mqtt.before-ack:7', 'mqtt.after-ack:1'])(
      'at %s loses nothing, and runs no more twice than were at work',
      (point) => losesNothing(point, version, qos, 'enqueued'),
      30_000,
    );

    it(
      'at execute.running:7 loses nothing where the function has to end first',
      () => losesNothing('execute.running:7', version, qos, 'processed'),
      30_000,
    );
  });
});
