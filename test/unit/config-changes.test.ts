import { globSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { changesOf, isUnchanged, linesOf, summaryOf } from '../../core/config/changes.ts';
import { requireConfig } from '../../core/config/load.ts';
import type { Config } from '../../core/config/schema.ts';
import { builtIns, inlinePlugin, testDefaults } from '../support/gateway.ts';

const root = join(import.meta.dirname, '../..');
const registry = builtIns();
const defaults = { ...testDefaults, providers: { worker: { kind: 'worker' } } };
const environment = { WEBHOOK_SECRET: 'from-outside' };
const base = {
  gateway: 'gateway: { listen: { port: 0 }, management: { port: 0 } }',
  connections: 'connections: { main: { kind: nats }, other: { kind: nats, servers: "nats://127.0.0.1:4223" } }',
  functions: 'functions: { a: { behaviour: echo }, b: { behaviour: show }, c: { behaviour: show } }',
  providers: 'providers: { inline: { kind: inline-test } }',
  queues: 'queues: { default: { kind: memory, allowVolatile: true } }',
  stores: 'stores: { default: { kind: memory } }',
  connectors: `connectors:
  jobs: { kind: jetstream, connection: main, stream: JOBS, durable: w, function: a }
  more: { kind: jetstream, connection: other, stream: JOBS, durable: w, function: a }
  daily: { kind: cron, schedule: "@daily", function: b }`,
};
type Parts = Partial<Record<keyof typeof base | 'policies' | 'observability', string>>;

async function configOf(parts: Parts = {}): Promise<Config> {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-changes-')), 'millrace.yaml');
  writeFileSync(file, [`plugins: [${inlinePlugin}]`, ...Object.values({ ...base, ...parts })].join('\n'));
  return requireConfig(file, registry, testDefaults, {});
}
const between = async (parts: Parts) => changesOf(await configOf(), await configOf(parts));
const told = async (parts: Parts): Promise<string[]> =>
  linesOf(await between(parts)).map(({ path, change, because }) =>
    because === undefined ? `${path} ${change}` : `${path} ${change} because of ${because}`,
  );

describe('the difference between two configurations', () => {
  it('is nothing between a file and itself, whatever is in it', async () => {
    const files = globSync('config/{millrace,examples/*}.yaml', { cwd: root });
    expect(files.length).toBeGreaterThanOrEqual(4);
    for (const file of files) {
      const load = (): Promise<Config> => requireConfig(join(root, file), registry, defaults, environment);
      const changes = changesOf(await load(), await load());
      expect(summaryOf(changes), file).toBe('nothing has changed');
      expect(isUnchanged(changes), file).toBe(true);
    }
  });

  it('names connectors that are added, changed and removed, one that is off as one that is not there', async () => {
    const connectors = (text: string): Promise<string[]> => told({ connectors: text });
    const jobs = 'jobs: { kind: jetstream, connection: main, stream: JOBS, durable: w, function: a }';
    const more = 'more: { kind: jetstream, connection: other, stream: JOBS, durable: w, function: a }';
    const daily = 'daily: { kind: cron, schedule: "@daily", function: b }';
    expect(await connectors(`connectors: { ${jobs}, ${more} }`)).toEqual(['connectors.daily removed']);
    expect(await connectors(`connectors: { ${jobs}, ${more}, ${daily.replace('"@daily"', '"@hourly"')} }`)).toEqual([
      'connectors.daily changed',
    ]);
    expect(
      await connectors(`connectors: { ${jobs}, ${more.replace('kind', 'enabled: false, kind')}, ${daily} }`),
    ).toEqual(['connectors.more removed']);
    expect(await connectors(`connectors: { ${jobs.replace('w,', 'w, credit: 3,')}, ${more}, ${daily} }`)).toEqual([
      'connectors.jobs changed',
    ]);
    expect(await connectors(`connectors: { ${jobs.replace('w,', 'w, ack: enqueued,')}, ${more}, ${daily} }`)).toEqual([
      'connectors.jobs changed',
    ]);
    // As main adds it to every file: what stands there explicitly is the same.
    expect(await connectors(`connectors: { http: { kind: http }, ${jobs}, ${more}, ${daily} }`)).toEqual([]);
  });

  it('takes the connectors of a connection along when that changes', async () => {
    const connections =
      'connections: { main: { kind: nats }, other: { kind: nats, servers: "nats://127.0.0.1:4224" } }';
    expect(await told({ connections })).toEqual([
      'connections.other changed',
      'connectors.more changed because of connections.other',
    ]);
  });

  it('tells another deployment of a function from other rules for it', async () => {
    const functions =
      'functions: { a: { behaviour: record }, b: { behaviour: show, invoke: { timeout: 3s } }, d: { behaviour: echo } }';
    expect(await told({ functions })).toEqual([
      'functions.d.openfaas-fn added',
      'functions.a.openfaas-fn changed',
      'functions.c.openfaas-fn removed',
      'functions.b.openfaas-fn policy changed',
    ]);
  });

  it('knows that a named retry policy is part of the functions that name it', async () => {
    const lines = await told({ policies: 'policies: { retry: { standard: { attempts: 9 } } }' });
    expect(lines).toEqual([
      'gateway.callbacks changed',
      'policies.retry.standard changed',
      'functions.a.openfaas-fn policy changed',
      'functions.b.openfaas-fn policy changed',
      'functions.c.openfaas-fn policy changed',
    ]);
  });

  it.each<[Parts, string[]]>([
    [{ gateway: 'gateway: { listen: { port: 1234 }, management: { port: 0 } }' }, ['gateway.listen']],
    [
      { gateway: 'gateway: { listen: { port: 0 }, management: { port: 0 }, limits: { depth: 3 } }' },
      ['gateway.limits'],
    ],
    [{ observability: 'observability: { logs: { level: debug } }' }, ['observability.logs']],
    [
      { queues: 'queues: { default: { kind: memory, allowVolatile: true, limits: { messages: 3 } } }' },
      ['queues.default'],
    ],
    [
      {
        queues:
          'queues: { default: { kind: memory, allowVolatile: true }, fast: { kind: memory, allowVolatile: true } }',
      },
      [],
    ],
    [{ stores: 'stores: { default: { kind: memory }, fast: { kind: memory } }' }, []],
    [{ stores: 'stores: { other: { kind: memory } }' }, ['stores.default']],
    [{ gateway: 'gateway: { listen: { port: 0 }, management: { port: 0 }, shutdown: { drain: 1s } }' }, []],
    [{ gateway: 'gateway: { listen: { port: 0 }, management: { port: 0 }, reload: { watch: false } }' }, []],
  ])('%j needs a restart for %j', async (parts, expected) => {
    const { needsRestart } = await between(parts);
    expect(needsRestart.map(({ path }) => path)).toEqual(expected);
  });

  it('needs a restart where a queue works over a connection that changes', async () => {
    const queues = 'queues: { default: { kind: jetstream, connection: main } }';
    const connections = base.connections.replace(
      'main: { kind: nats }',
      'main: { kind: nats, servers: "nats://127.0.0.1:9" }',
    );
    const { needsRestart } = changesOf(await configOf({ queues }), await configOf({ queues, connections }));
    expect(needsRestart).toEqual([
      { path: 'connections.main', reason: 'has changed, and queues.default works over it' },
    ]);
  });
});
