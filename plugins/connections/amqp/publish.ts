import type { ConfirmChannel, Options } from 'amqplib';
import type { OutgoingMessage } from '../../../core/contracts/connection.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';
import { bufferOf } from '../../../core/kit/body.ts';

/** Basic properties, and how CloudEvents name their attributes where 0-9-1 has no binding of its own. */
function optionsOf(headers: OutgoingMessage['headers']): Options.Publish {
  const own: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name === 'content-type') continue;
    own[name.startsWith('ce-') ? `cloudEvents_${name.slice(3)}` : name] = [value].flat().join(', ');
  }
  const { 'content-type': contentType, 'ce-id': messageId } = headers;
  return {
    headers: own,
    persistent: true,
    mandatory: true,
    ...(contentType !== undefined && { contentType: String(contentType) }),
    ...(messageId !== undefined && { messageId: String(messageId) }),
  };
}

/** A queue, or `EXCHANGE/KEY`. */
export function addressOf(to: string): { readonly exchange: string; readonly key: string } {
  const slash = to.indexOf('/');
  return slash === -1 ? { exchange: '', key: to } : { exchange: to.slice(0, slash), key: to.slice(slash + 1) };
}

/**
 * Publishes over a channel that is used for nothing else, one after another, and waits for the confirm. A confirm is no
 * delivery: what no queue takes comes back before it, and rejects.
 */
export class Publisher {
  readonly #open: () => Promise<ConfirmChannel>;
  #channel: Promise<ConfirmChannel> | undefined;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(open: () => Promise<ConfirmChannel>) {
    this.#open = open;
  }

  publish(message: OutgoingMessage): Promise<void> {
    const published = this.#tail.then(() => this.#publish(message));
    this.#tail = published.catch(() => {});
    return published;
  }

  async #publish({ to, headers, body }: OutgoingMessage): Promise<void> {
    const channel = await (this.#channel ??= this.#opened());
    const { exchange, key } = addressOf(to);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onClose = (): void => reject(new Error('the channel was closed'));
    const onReturn = (): void =>
      reject(new MillraceError('config.invalid', `no queue takes ${to}: declare it, or bind one to the exchange`));
    channel.once('close', onClose);
    channel.once('return', onReturn);
    try {
      const bytes = bufferOf(body);
      channel.publish(exchange, key, bytes, optionsOf(headers), (error: unknown) =>
        error ? reject(error) : resolve(),
      );
      await promise;
    } finally {
      channel.off('close', onClose);
      channel.off('return', onReturn);
    }
  }

  async #opened(): Promise<ConfirmChannel> {
    try {
      const channel = await this.#open();
      channel.once('close', () => (this.#channel = undefined));
      return channel;
    } catch (error) {
      this.#channel = undefined;
      throw error;
    }
  }
}
