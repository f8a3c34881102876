import { MillraceError } from '../contracts/errors.ts';
import type { Disposition, Envelope, NewMessage, Receipt } from '../contracts/queue.ts';
import { failpoint } from '../delivery/failpoint.ts';
import type { Bodies } from './bodies.ts';
import { packMessage, packResult, packSmallResult, recordOf, unpackEnvelope, unpackMessage, whole } from './packing.ts';
import type { Given, Item, NewRecord, Ref, Verdict } from './records.ts';

/** What the state does not keep of messages: it is put beside before a command, and read when a message is handed out. */
export class Contents {
  readonly #bodies: Bodies;
  /** Envelopes of what is leased here: they go into the record of its end. */
  readonly #leased = new Map<string, Envelope>();

  constructor(bodies: Bodies) {
    this.#bodies = bodies;
  }

  /** Puts what the records of the messages refer to. */
  async put(messages: readonly NewMessage[]): Promise<NewRecord[]> {
    // Checked before anything is written.
    for (const message of messages) recordOf(message, [0, 0]);
    const refs = await this.#bodies.put(messages.map(packMessage));
    failpoint('queue.after-body');
    return messages.map((message, index) => recordOf(message, refs[index] as Ref));
  }

  /** The message that was handed out; undefined when its bytes are gone for good. */
  async take({ record, ref, epoch }: Given): Promise<NewMessage | undefined> {
    const bytes = await this.#bodies.get(ref);
    const message = bytes && unpackMessage(record, bytes);
    if (message) this.#leased.set(`${record.id} ${epoch}`, message.envelope);
    return message;
  }

  /** The settlement's command, once its result and effects are put. `item`: what it settles, unless it is stale. */
  async verdictOf({ id, epoch }: Receipt, disposition: Disposition, item: Item | undefined): Promise<Verdict> {
    if (disposition.kind === 'cancelled') return { as: 'cancelled' };
    if (disposition.kind === 'retry') {
      const { delayMs, error, counted = true } = disposition;
      return { as: 'retry', delayMs: whole('delayMs', delayMs), error, counted };
    }
    const { result, effects = [] } = disposition;
    const small = disposition.kind === 'ack' && result && item ? packSmallResult(result, item.record.bytes) : undefined;
    const base: Verdict =
      disposition.kind === 'ack'
        ? { as: 'ack', small }
        : { as: 'dead', reason: disposition.reason, error: disposition.error };
    // What is stale already stays so: it needs no body, only to be counted.
    if (!item) return base;
    const kept = small === undefined ? result : undefined;
    const envelope = kept && (this.#leased.get(`${id} ${epoch}`) ?? (await this.#envelope(id, item.ref)));
    const packed = kept && envelope ? [packResult(id, envelope, kept)] : [];
    const refs = await this.#bodies.put([...packed, ...effects.map(packMessage)]);
    return {
      ...base,
      result: packed.length > 0 ? refs[0] : undefined,
      effects: effects.map((effect, index) => recordOf(effect, refs[index + packed.length] as Ref)),
    };
  }

  /** It is settled, or lost. */
  forget({ id, epoch }: Receipt): void {
    this.#leased.delete(`${id} ${epoch}`);
  }

  async #envelope(id: string, ref: Ref): Promise<Envelope> {
    const bytes = await this.#bodies.get(ref);
    const envelope = bytes && unpackEnvelope(id, bytes);
    if (!envelope) throw new MillraceError('queue.unavailable', `the message ${id} is not on the broker any more`);
    return envelope;
  }
}
