import type { MessageSettings } from '../config/messages.ts';
import { Delivery, type DeliveryRequest, type Settlement } from '../contracts/delivery.ts';
import type { SourceMessage } from '../contracts/message.ts';
import { headersOfMessage } from '../kit/event.ts';

/** What stands between a connector of messages and the pipeline: which functions a message runs, and as what. */
export class Intake {
  readonly #name: string;
  readonly #kind: string;
  readonly #settings: MessageSettings;

  constructor({ name, kind }: { readonly name: string; readonly kind: string }, settings: MessageSettings) {
    this.#name = name;
    this.#kind = kind;
    this.#settings = settings;
  }

  deliveryOf(message: SourceMessage, settlement: Settlement): Delivery {
    const { function: name, ack } = this.#settings;
    const { body, attempt, dedupId } = message;
    const request: DeliveryRequest = {
      function: name,
      method: 'POST',
      path: '',
      query: '',
      headers: headersOfMessage(message, this.#kind, this.#name),
      body: body.byteLength === 0 ? null : body,
      mode: ack === 'enqueued' ? 'async' : 'sync',
      attempt: ack === 'enqueued' ? 1 : attempt,
      // Given again because its acknowledgement was lost, it is known in the queue.
      options: dedupId === undefined ? undefined : { dedupKey: `${this.#kind}:${this.#name}:${dedupId}` },
    };
    return new Delivery(this.#name, request, settlement, message);
  }
}
