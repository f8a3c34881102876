import { randomUUID } from 'node:crypto';
import type { ConfirmChannel, ConsumeMessage, Message } from 'amqplib';
import { sleep, sleepUnless } from '../../core/contracts/clock.ts';
import type { PluginHost } from '../../core/contracts/definition.ts';
import type { Verdict } from '../../core/contracts/delivery.ts';
import { messageOf } from '../../core/contracts/errors.ts';
import { bytesOf } from '../../core/kit/body.ts';
import { endToEnd } from '../../core/kit/headers.ts';
import type { AmqpConnection } from '../../plugins/connections/amqp/connection.ts';
import { answered, closeChannel } from './channel.ts';

const retryPauseMs = { first: 200, last: 5000 } as const;
const blockedMs = 5000;
/** The queue that every client has for replies; the broker says of each that nobody has it, and delivers it. */
const directReply = /^amq\.rabbitmq\.reply-to/;
/** What no waiting will mend. */
const refused = /ACCESS_REFUSED|PRECONDITION_FAILED|larger than/;

export interface Reply {
  /** The queue that the message named. */
  readonly to: string;
  readonly correlationId: string | undefined;
  readonly contentType: string | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Uint8Array;
}

/** What is to be sent to whoever waits for the outcome of a message; undefined when nobody does. */
export function replyTo({ properties }: ConsumeMessage, verdict: Verdict, callId = ''): Reply | undefined {
  const to: unknown = properties.replyTo;
  if (typeof to !== 'string' || to === '' || verdict.kind === 'retry') return undefined;
  const about = callId === '' ? {} : { 'x-call-id': callId };
  const correlationId = (properties.correlationId ?? properties.messageId) as string | undefined;
  if (verdict.kind === 'accepted') {
    // It has failed and is tried again, from its queue.
    const { id, durability } = verdict.accepted;
    const headers = {
      ...about,
      'x-function-status': 202,
      'x-invocation-id': id,
      'x-durability': durability,
    };
    return { to, correlationId, contentType: undefined, headers, body: new Uint8Array(0) };
  }
  const { status, headers, body } = verdict.outcome;
  const { 'content-type': contentType, ...others } = endToEnd(headers);
  return {
    to,
    correlationId,
    contentType: [contentType].flat()[0],
    headers: { ...others, ...about, 'x-function-status': status },
    body: bytesOf(body),
  };
}

/** Answers to whoever asked for one. */
export class Replies {
  readonly #host: PluginHost;
  readonly #amqp: AmqpConnection;
  readonly #counters;
  readonly #returned = new Set<string>();
  #channel: Promise<ConfirmChannel> | undefined;

  constructor(host: PluginHost, amqp: AmqpConnection) {
    this.#host = host;
    this.#amqp = amqp;
    const { metrics } = host;
    this.#counters = {
      sent: metrics.counter('replies_total', 'Outcomes that were sent to the reply-to of their message.'),
      lost: metrics.counter('replies_lost_total', 'Outcomes whose reply-to is gone, or takes none.'),
    };
  }

  /** Resolves once the broker has it, or has said that nobody will; rejects when the signal aborts first. */
  async send(reply: Reply, signal: AbortSignal): Promise<void> {
    for (let pauseMs: number = retryPauseMs.first; ; pauseMs = Math.min(pauseMs * 2, retryPauseMs.last)) {
      // What is sent now would wait with the broker, and be sent again each time that nothing is heard of it.
      while (this.#amqp.blocked && !signal.aborted) {
        await sleepUnless(blockedMs, signal, (wake) => this.#amqp.onBlocked(wake));
      }
      try {
        if (await this.#publish(reply)) return this.#counters.sent.inc();
        this.#counters.lost.inc();
        this.#host.logger.warn({ replyTo: reply.to }, 'nobody waits for the reply any more');
        return;
      } catch (error) {
        if (refused.test(messageOf(error))) {
          this.#counters.lost.inc();
          this.#host.logger.error({ err: error, replyTo: reply.to }, 'RabbitMQ refuses the reply');
          return;
        }
        this.#host.logger.warn({ err: error, replyTo: reply.to }, 'the reply could not be sent; trying again');
        if (!(await sleep(pauseMs * (0.5 + Math.random() / 2), signal))) throw error;
      }
    }
  }

  async close(): Promise<void> {
    const channel = await this.#channel?.catch(() => undefined);
    if (channel) await closeChannel(channel);
  }

  /** Whether there is somebody to have it. */
  async #publish({ to, correlationId, contentType, headers, body }: Reply): Promise<boolean> {
    const channel = await answered((this.#channel ??= this.#open()));
    const messageId = randomUUID();
    const taken = Promise.withResolvers<boolean>();
    let fault: Error | undefined;
    const onError = (error: Error): unknown => (fault = error);
    const onClose = (): void => taken.reject(fault ?? new Error('the channel was closed'));
    channel.on('error', onError);
    channel.on('close', onClose);
    const properties = {
      messageId,
      persistent: true,
      mandatory: !directReply.test(to),
      headers,
      ...(correlationId !== undefined && { correlationId }),
      ...(contentType !== undefined && { contentType }),
    };
    try {
      channel.publish('', to, Buffer.from(body), properties, (error: unknown) => {
        if (error && fault === undefined) taken.reject(new Error(`RabbitMQ did not take it: ${messageOf(error)}`));
        else if (!error) taken.resolve(!this.#returned.delete(messageId));
      });
      return await answered(taken.promise);
    } finally {
      channel.off('error', onError);
      channel.off('close', onClose);
    }
  }

  async #open(): Promise<ConfirmChannel> {
    try {
      const channel = await this.#amqp.confirmChannel();
      channel.on('close', () => {
        this.#channel = undefined;
        this.#returned.clear();
      });
      // It comes before the confirm.
      channel.on('return', ({ properties }: Message) => this.#returned.add(String(properties.messageId)));
      return channel;
    } catch (error) {
      this.#channel = undefined;
      throw error;
    }
  }
}
