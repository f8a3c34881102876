import { Observable, type Subscriber } from 'rxjs';
import { z } from 'zod';
import type { Connector, Credit } from '../../../core/contracts/connector.ts';
import { type ConnectorHost, defineConnector } from '../../../core/contracts/definition.ts';
import { Delivery, type Verdict } from '../../../core/contracts/delivery.ts';
import { jsonRoute } from './json-route.ts';

interface Given {
  readonly function: string;
  readonly body: string;
  readonly mode?: 'async';
  readonly attempt?: number;
  readonly key?: string;
}

/** A source that can take messages back: what is POSTed to /give is a message, and the answer is its verdict. */
class SourceConnector implements Connector {
  readonly #host: ConnectorHost;
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;

  constructor(host: ConnectorHost) {
    this.#host = host;
  }

  async start(): Promise<void> {
    const give = async (body: unknown): Promise<unknown> => {
      const given = body as Given;
      const { subscriber, credit } = this.#out ?? {};
      if (!subscriber || !credit?.tryTake()) throw new Error('no credit');
      const settled = Promise.withResolvers<Verdict>();
      const what = {
        function: given.function,
        method: 'POST',
        path: '',
        query: '',
        headers: { 'x-topic': 'given' },
        body: Buffer.from(given.body),
        mode: given.mode ?? 'sync',
        attempt: given.attempt,
        options: given.key === undefined ? {} : { orderKey: given.key },
      } as const;
      subscriber.next(new Delivery('source', what, { kind: 'settles', settle: settled.resolve }));
      const verdict = await settled.promise;
      return {
        kind: verdict.kind,
        ...(verdict.kind === 'accepted' && { id: verdict.accepted.id }),
        ...(verdict.kind === 'dead' && { reason: verdict.reason }),
        ...(verdict.kind === 'retry' && { counted: verdict.counted, delayMs: verdict.delayMs }),
      };
    };
    this.#host.http.add(jsonRoute('/give', give));
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
  kind: 'source-test',
  summary: 'Messages that a test gives.',
  config: z.strictObject({}),
  examples: [{}],
  create: (_config, host) => new SourceConnector(host),
});
