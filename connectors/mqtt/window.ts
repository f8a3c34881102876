import type { IPublishPacket } from 'mqtt';

/** A message of QoS 1 or 2 that the broker has given and not been told of yet. */
export interface Loan {
  /** Undefined once the broker has no more to do with it: the tables that a Map outgrows keep what was in them for a while. */
  message: IPublishPacket | undefined;
  /** `held`: it is not safe yet. `safe`: it may be acknowledged. `told`: QoS 2, acknowledged, and not released yet. */
  state: 'held' | 'safe' | 'told';
  /** The connection by which it came last. */
  connection: number;
}

/**
 * The messages of a session that are not acknowledged, in the order in which they came: that is the order in which the
 * protocol wants them acknowledged (MQTT-4.6.0-2, -3). A session that is resumed gives them again, with their numbers: one
 * that is at work already is known by that, so that it does not run twice.
 */
export class Window {
  readonly #loans = new Map<number, Loan>();
  #order: Loan[] = [];
  #connection = 0;

  /** How many are not acknowledged. */
  get size(): number {
    return this.#order.length;
  }

  /** Of these, and of those of the connection before, how many are not safe. */
  get held(): number {
    let held = 0;
    for (const { state } of this.#loans.values()) if (state === 'held') held++;
    return held;
  }

  /** A new connection: what the broker has not been told of comes again, if it still knows the session. */
  reopen(isResumed: boolean): void {
    for (const [number, { connection }] of this.#loans) {
      // What did not come again by the last connection will never come: the broker has let it expire.
      if (!isResumed || connection < this.#connection) this.#loans.delete(number);
    }
    this.#connection++;
    this.#order = [];
  }

  /** The loan of a message, and whether it is at work already. */
  take(message: IPublishPacket): { readonly loan: Loan; readonly isKnown: boolean } {
    const { messageId = 0 } = message;
    const known = this.#loans.get(messageId);
    if (known?.message && message.dup && isSame(known.message, message)) {
      if (known.connection !== this.#connection || known.state === 'told') this.#order.push(known);
      if (known.state === 'told') known.state = 'safe';
      known.connection = this.#connection;
      return { loan: known, isKnown: true };
    }
    // A number that is used anew: nothing waits for the one that had it.
    if (known) this.#order = this.#order.filter((one) => one !== known);
    const loan: Loan = { message, state: 'held', connection: this.#connection };
    this.#loans.set(messageId, loan);
    this.#order.push(loan);
    return { loan, isKnown: false };
  }

  /** Whether the broker still counts on this one. */
  has(loan: Loan): boolean {
    return this.#loans.get(loan.message?.messageId ?? 0) === loan;
  }

  /** Whether it is still to be made safe. */
  holds(loan: Loan): boolean {
    return loan.state === 'held' && this.has(loan);
  }

  /** Says that it is safe. False if the broker does not count on it any more. */
  settle(loan: Loan): boolean {
    if (!this.has(loan)) return false;
    if (loan.state === 'held') loan.state = 'safe';
    return true;
  }

  /** What may be acknowledged now: all that are safe, up to the first that is not. Call `told` once they are. */
  get acknowledgeable(): readonly IPublishPacket[] {
    const safe: IPublishPacket[] = [];
    for (const { state, message } of this.#order) {
      if (state !== 'safe') break;
      if (message) safe.push(message);
    }
    return safe;
  }

  /** The first `count` have been acknowledged. */
  told(count: number): void {
    for (const loan of this.#order.splice(0, count)) {
      loan.state = 'told';
      // The number of one of QoS 2 stays its own until the broker releases it.
      if (loan.message?.qos !== 1 || !this.has(loan)) continue;
      this.#loans.delete(loan.message.messageId ?? 0);
      loan.message = undefined;
    }
  }

  /** QoS 2: the broker will not give it again. */
  release(messageId: number): void {
    if (this.#loans.get(messageId)?.state === 'told') this.#loans.delete(messageId);
  }
}

function isSame(one: IPublishPacket, other: IPublishPacket): boolean {
  if (one.qos !== other.qos || one.topic !== other.topic) return false;
  return Buffer.compare(Buffer.from(one.payload), Buffer.from(other.payload)) === 0;
}
