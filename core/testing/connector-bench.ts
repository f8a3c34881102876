import type { Connector } from '../contracts/connector.ts';
import type { Settlement, Verdict } from '../contracts/delivery.ts';

/** What a connector is by its nature, or by that of its source. Each trait that it lacks leaves cases out, by name. */
export interface ConnectorTraits {
  /** `settles`: the source keeps a message until it is acknowledged. `replies`: its sender waits for an answer. */
  readonly settlement: Settlement['kind'];
  /** What is sent has a body and headers of the sender's; those of a clock have not. */
  readonly carries: boolean;
  /** Deliveries are CloudEvents, even of what was sent as none. */
  readonly events: boolean;
  /** As long as all goes well they come in the order in which they were sent. */
  readonly ordered: boolean;
  /** What comes while there is no credit waits, at the source or here; otherwise its sender is refused. */
  readonly waits: boolean;
  /** Only the present holder of a message can acknowledge it; otherwise something else makes a late word harmless. */
  readonly fences: boolean;
  /** Several instances share the messages. */
  readonly shares: boolean;
  /** Who is given what was not settled when an instance stopped: any other one, that one when it is back, or nobody. */
  readonly handsBack: 'anyone' | 'itself' | 'nobody';
  /** So many it gives, credit permitting, before the first is settled. */
  readonly atOnce: number;
  /** The verdicts by which a message is acknowledged. */
  readonly acknowledges: readonly Verdict['kind'][];
  /** Bytes of the largest body. */
  readonly maxBodyBytes: number;
}

/** What most brokers' connectors are: say what is different. */
export const brokerTraits: ConnectorTraits = {
  settlement: 'settles',
  carries: true,
  events: true,
  ordered: true,
  waits: true,
  fences: true,
  shares: true,
  handsBack: 'anyone',
  atOnce: 1000,
  acknowledges: ['done', 'accepted', 'dead', 'cancelled'],
  maxBodyBytes: 2 ** 20,
};

/** What a sender sends. */
export interface Outgoing {
  readonly body: Uint8Array;
  /** As the sender spells them; `content-type` goes to wherever the source's binding of CloudEvents has it. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Attributes of an event (`id`, `source`, …), to be sent in the binary mode of that binding. */
  readonly event?: Readonly<Record<string, string>>;
}

/** A source to try a connector on, and the means to try it with. Everything of it is of this bench alone. */
export interface ConnectorBench {
  /** As `x-connector` names it. */
  readonly kind: string;
  /** As `x-topic` names where the messages come by. */
  readonly topic: string;
  /**
   * A connector that has started, and that nobody has subscribed to; `name` of its host is `trial`. Each number stands for
   * a gateway of its own (client id, connection), and the same number for the same gateway, started again.
   */
  open(gateway: number): Promise<Connector>;
  /** Resolves once the source has them all, in that order, durably where it can. Where senders wait: once they do. */
  send(messages: readonly Outgoing[]): Promise<void>;
  /** What the source still keeps for this consumer, or how many senders wait. Absent: it cannot tell. */
  left?(): Promise<number>;
  /**
   * Takes from that gateway all that it has been given and not settled, behind its back or by ending its connection, so
   * that the source gives it again. Absent: that cannot happen, or not here.
   */
  lose?(gateway: number): Promise<void>;
  /** Lets the source die without a warning; resolves with what brings it back as it was. Absent: it cannot die. */
  away?(): Promise<() => Promise<void>>;
  /** Starts that must be refused as `config.invalid`, with the name of what is wrong in the message. */
  readonly refused?: readonly Refused[];
  dispose(): Promise<void>;
}

export interface Refused {
  /** What is wrong, for the name of a failure: `a stream that is not there`. */
  readonly what: string;
  start(): Promise<unknown>;
  /** To be found in the message. */
  readonly names: string;
}

/** What a case cannot do without: a trait, or a means of the bench. */
export type ConnectorNeed =
  | 'carries'
  | 'events'
  | 'ordered'
  | 'waits'
  | 'fences'
  | 'shares'
  | 'settles'
  | 'hands back'
  | 'several at once'
  | 'left'
  | 'lose'
  | 'away'
  | 'refused';

/** The first of these that there is not. */
export function lacking(
  needs: readonly ConnectorNeed[],
  traits: ConnectorTraits,
  bench: ConnectorBench,
): ConnectorNeed | undefined {
  return needs.find((need) => {
    switch (need) {
      case 'settles':
        return traits.settlement !== 'settles';
      case 'hands back':
        return traits.handsBack === 'nobody';
      case 'several at once':
        return traits.atOnce < 2;
      case 'left':
      case 'lose':
      case 'away':
      case 'refused':
        return bench[need] === undefined;
      default:
        return !traits[need];
    }
  });
}
