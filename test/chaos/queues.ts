import { join } from 'node:path';
import { settle } from '../contract/amqp-bench.ts';
import type { BrokerKind, OwnBroker } from '../support/brokers.ts';

/** A queue as the crash tests take it. */
export interface CrashQueue {
  readonly kind: string;
  /** Absent: the queue is a file of the gateway's own, and only one gateway can use it. */
  readonly broker?: BrokerKind;
  /** Lines for the end of the broker's settings. */
  readonly settings?: readonly string[];
  /** What a broker needs before it can be killed. */
  readonly prepare?: (broker: OwnBroker) => Promise<void>;
  /** The pieces of a configuration that make it: over the broker of that URL, or in files of that folder. */
  readonly yaml: (place: string) => string;
  /** The store beside it, where that is to be a plugin that keeps files; in memory otherwise. */
  readonly store?: (folder: string) => string;
  /** The same, if the broker would end the connection of a gateway that is stopped, which could then not say a word. */
  readonly patient?: (url: string) => string;
  /** The named places of its own at which a gateway is killed; those of the core come on top. */
  readonly failpoints: readonly string[];
}

/** Places of the core that every queue's messages come through. */
export const commonFailpoints = [
  'accept.after-enqueue',
  'lease.before-dispatch',
  'execute.running',
  'settle.before',
  'settle.after',
] as const;

/** Those of a queue that is a ledger over a broker's journals. */
const ledgerFailpoints = ['queue.after-body', 'queue.before-commit', 'queue.after-commit', 'queue.dead-letter'];

export const sqlite: CrashQueue = {
  kind: 'sqlite',
  yaml: (folder) => `queues: { default: { kind: sqlite, path: "${join(folder, 'queue.db')}" } }`,
  store: (folder) => `{ kind: sqlite, path: "${join(folder, 'store.db')}" }`,
  failpoints: ['queue.before-commit', 'queue.after-commit', 'queue.dead-letter'],
};

export const redis: CrashQueue = {
  kind: 'redis',
  broker: 'redis',
  // The class `disk`. With `everysec` Redis holds back up to 2 s of writes while it syncs: that is `page-cache`.
  settings: ['appendfsync always'],
  yaml: (url) => `
connections: { broker: { kind: redis, url: "${url}" } }
queues: { default: { kind: redis, connection: broker } }`,
  failpoints: ['queue.before-commit', 'queue.after-commit', 'queue.after-lease', 'queue.after-settle'],
};

/** The class `page-cache`: by hand only, to see what it costs. */
const redisEverysec: CrashQueue = { ...redis, settings: ['appendfsync everysec'] };

export const jetstream: CrashQueue = {
  kind: 'jetstream',
  broker: 'nats',
  yaml: (url) => `
connections: { broker: { kind: nats, servers: "${url}" } }
queues: { default: { kind: jetstream, connection: broker } }`,
  failpoints: ledgerFailpoints,
};

export const amqp: CrashQueue = {
  kind: 'amqp',
  broker: 'amqp',
  prepare: settle,
  yaml: (url) => `
connections: { broker: { kind: amqp, url: "${url}" } }
queues: { default: { kind: amqp, connection: broker } }`,
  patient: (url) => `
connections: { broker: { kind: amqp, url: "${url}", heartbeat: 60s } }
queues: { default: { kind: amqp, connection: broker } }`,
  failpoints: ledgerFailpoints,
};

export const kafka: CrashQueue = {
  kind: 'kafka',
  broker: 'kafka',
  yaml: (url) => `
connections: { broker: { kind: kafka, brokers: "${url}" } }
queues: { default: { kind: kafka, connection: broker } }`,
  failpoints: ledgerFailpoints,
};

/** All of them, by what they are called in a configuration. */
export const crashQueues: Readonly<Record<string, CrashQueue>> = {
  sqlite,
  redis,
  'redis-everysec': redisEverysec,
  jetstream,
  amqp,
  kafka,
};
