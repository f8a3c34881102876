import { MillraceError } from '../../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import { createId, encode } from './entry.ts';
import { publish, scanToEnd } from './scan.ts';
import { declareStream } from './stream.ts';

/** A stream of a journal: the one with that number, whose offset 0 is the journal's position `base`. */
export interface Segment {
  readonly generation: number;
  readonly base: number;
}

interface Line {
  readonly journal: string;
  /** The first segment that is kept. */
  readonly first: Segment;
  readonly segment: Segment;
}

export interface Catalogued {
  /** Undefined when the journal was never opened. */
  readonly first: Segment | undefined;
  /** Bases by generation, as far as they were written down. */
  readonly bases: ReadonlyMap<number, number>;
}

/**
 * A small stream which says of what streams the journals consist: nobody can ask RabbitMQ for that over AMQP. A line is
 * written when a segment begins and when some are forgotten, which is once for many megabytes.
 */
export class Catalog {
  readonly #amqp: AmqpConnection;
  readonly #stream: string;

  constructor(amqp: AmqpConnection, stream: string) {
    this.#amqp = amqp;
    this.#stream = stream;
  }

  async open(): Promise<void> {
    await declareStream(this.#amqp, this.#stream);
  }

  async load(journal: string, signal: AbortSignal): Promise<Catalogued> {
    let first: Segment | undefined;
    const bases = new Map<number, number>();
    await scanToEnd({
      amqp: this.#amqp,
      stream: this.#stream,
      from: 0,
      signal,
      hear: (_offset, message) => {
        if (message?.kind !== 'entry') return false;
        const line = this.#parse(message.data);
        if (line.journal !== journal) return false;
        for (const { generation, base } of [line.first, line.segment]) bases.set(generation, base);
        if (line.first.generation >= (first?.generation ?? 0)) first = line.first;
        return false;
      },
    });
    return { first, bases };
  }

  async write(line: Line): Promise<void> {
    const data = Buffer.from(JSON.stringify(line));
    await publish(this.#amqp, this.#stream, encode({ kind: 'entry', id: createId(), bytesBefore: 0, data }));
  }

  #parse(data: Uint8Array): Line {
    try {
      return JSON.parse(Buffer.from(data).toString()) as Line;
    } catch (error) {
      const message = `the stream ${this.#stream} holds something that is not of Millrace`;
      throw new MillraceError('config.invalid', message, { cause: error });
    }
  }
}
