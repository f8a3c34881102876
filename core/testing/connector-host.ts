import { pino } from 'pino';
import { type Clock, systemClock } from '../contracts/clock.ts';
import type { Connection } from '../contracts/connection.ts';
import type { ConnectorHost } from '../contracts/definition.ts';
import { Delivery } from '../contracts/delivery.ts';
import type { Routes } from '../contracts/route.ts';
import type { Store } from '../contracts/store.ts';
import { headersOfMessage, originOf } from '../kit/event.ts';

export interface ConnectorHostParts {
  readonly clock?: Clock;
  /** Started; for a connector that works over one. */
  readonly connection?: Connection;
  /** For a connector that adds routes. */
  readonly http?: Routes;
  /** For a connector that keeps records. */
  readonly store?: Store;
}

/** What a connector is given on a bench, and what it told its host. */
export interface TrialHost extends ConnectorHost {
  /** By the counter's name. */
  readonly counts: Readonly<Record<string, number>>;
  readonly failures: readonly unknown[];
}

/**
 * A host of one connector of that kind, called `trial`. It logs nothing, there are no invocations to be found, and each
 * message runs one function.
 */
export function connectorHost(kind: string, parts: ConnectorHostParts = {}): TrialHost {
  const counts: Record<string, number> = {};
  const failures: unknown[] = [];
  const name = 'trial';
  return {
    name,
    logger: pino({ level: process.env['MILLRACE_TEST_LOG'] ?? 'silent' }),
    clock: parts.clock ?? systemClock,
    metrics: {
      counter: (name) => ({
        inc: (by = 1) => {
          counts[name] = (counts[name] ?? 0) + by;
        },
      }),
      gauge: () => ({ set: () => undefined }),
    },
    counts,
    failures,
    signal: new AbortController().signal,
    baseFolder: process.cwd(),
    fail: (error) => void failures.push(error),
    // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as the contract has it.
    connection: <Kind extends Connection>() => part(parts.connection, 'connection') as Kind,
    get http() {
      return part(parts.http, 'http');
    },
    message: (message, settlement) => {
      const headers = headersOfMessage(message, originOf(kind, name), (parts.clock ?? systemClock).now());
      const { body, attempt } = message;
      const called = { function: 'work', method: 'POST', path: '', query: '' } as const;
      return new Delivery(name, { ...called, headers, body, attempt, mode: 'sync' }, settlement, message);
    },
    functions: { list: () => [], onChange: () => () => undefined },
    store: () => part(parts.store, 'store'),
    limits: { body: 2 ** 23, asyncBody: 2 ** 21 },
    product: 'millrace/trial',
    invocations: {
      find: async () => undefined,
      finished: async () => undefined,
      cancel: async () => 'unknown',
    },
  };
}

function part<Part>(given: Part | undefined, name: string): Part {
  if (given === undefined) throw new Error(`connectorHost was given no ${name}`);
  return given;
}
