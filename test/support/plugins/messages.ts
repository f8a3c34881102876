import { Observable, type Subscriber } from 'rxjs';
import { z } from 'zod';
import type { Connector, Credit } from '../../../core/contracts/connector.ts';
import { type ConnectorHost, defineConnector } from '../../../core/contracts/definition.ts';
import type { Delivery, Verdict } from '../../../core/contracts/delivery.ts';
import { natsTopics, topicMatcher } from '../../../core/kit/topic.ts';
import { jsonRoute } from './json-route.ts';

interface Given {
  readonly topic?: string;
  readonly id?: string;
  readonly body: string;
  readonly key?: string;
  readonly orderKey?: string;
  readonly attempt?: number;
  readonly ageMs?: number;
  readonly headers?: Record<string, string>;
}

/** A broker of messages: each that is POSTed to /messages comes once, and the answer is its verdict. */
class MessagesConnector implements Connector {
  readonly #host: ConnectorHost;
  readonly #path: string;
  #count = 0;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;

  constructor(host: ConnectorHost, path: string) {
    this.#host = host;
    this.#path = path;
  }

  async start(): Promise<void> {
    const give = async (body: unknown): Promise<unknown> => {
      const given = body as Given;
      const { subscriber, credit } = this.#out ?? {};
      if (!subscriber || !credit?.tryTake()) throw new Error('no credit');
      const settled = Promise.withResolvers<Verdict>();
      const id = given.id ?? String(++this.#count);
      const message = {
        topic: given.topic ?? 'given.here',
        id,
        dedupId: id,
        at: Date.now() - (given.ageMs ?? 0),
        key: given.key,
        orderKey: given.orderKey,
        headers: Object.entries(given.headers ?? {}).map(([name, value]) => [name, [value]] as const),
        body: Buffer.from(given.body),
        attempt: given.attempt ?? 1,
      };
      subscriber.next(this.#host.message(message, { kind: 'settles', settle: settled.resolve }));
      const verdict = await settled.promise;
      return {
        kind: verdict.kind,
        ...(verdict.kind === 'accepted' && { id: verdict.accepted.id }),
        ...(verdict.kind === 'dead' && { reason: verdict.reason }),
        ...(verdict.kind === 'retry' && { counted: verdict.counted }),
      };
    };
    this.#host.http.add(jsonRoute(this.#path, give));
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = { subscriber, credit };
    });
  }

  health() {
    return { state: 'running', reconnects: 0 } as const;
  }

  async stop(): Promise<void> {}
}

export default defineConnector({
  kind: 'messages-test',
  summary: 'Messages that a test gives.',
  config: z.strictObject({ path: z.string().default('/messages') }),
  examples: [{}],
  messages: { acks: ['processed', 'enqueued'], matches: topicMatcher(natsTopics) },
  create: (config, host) => new MessagesConnector(host, config.path),
});
