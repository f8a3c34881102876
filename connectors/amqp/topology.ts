import type { Options } from 'amqplib';
import { messageOf, MillraceError } from '../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../plugins/connections/amqp/connection.ts';
import { answered, onChannel } from './channel.ts';
import type { QueueConfig } from './config.ts';

/** What the connector needs is not there, or not for this user. That may be mended while it waits. */
export class Missing extends Error {
  /** It is the queue that is not there. */
  readonly isQueue: boolean;

  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.isQueue = noQueue.test(messageOf(cause));
  }
}

const noQueue = /NOT_FOUND - no queue/;
/** How many arguments a queue that is there is asked about. */
const mostArguments = 20;

/**
 * Declares the queue, or looks whether it is there, then exchanges and bindings. Returns whether the queue was made.
 * `config.invalid` when something is there and is another one: no waiting mends that; `Missing` when it is not there.
 */
export async function declareTopology(amqp: AmqpConnection, queue: QueueConfig): Promise<{ readonly made: boolean }> {
  const { name, declare, bind } = queue;
  const explained = (error: unknown): unknown => explain(error, queue, amqp);
  const isThere = await hasQueue(amqp, name).catch((error: unknown) => {
    // Told in the words that the next step has for it.
    if (declare) return true;
    throw explained(error);
  });
  try {
    await onChannel(amqp.channel(), async (channel) => {
      if (declare) await answered(channel.assertQueue(name, optionsOf(queue)));
      else if (!isThere) await answered(channel.checkQueue(name));
      for (const { exchange, key, arguments: compared, declare: isOurs, type } of bind) {
        if (isOurs) await answered(channel.assertExchange(exchange, type, { durable: true }));
        else await answered(channel.checkExchange(exchange));
        await answered(channel.bindQueue(name, exchange, key, compared));
      }
    });
  } catch (error) {
    throw explained(error);
  }
  return { made: declare && !isThere };
}

/**
 * What `declareTopology` would make; makes nothing. Rejects as that does. Which bindings there are AMQP does not tell.
 */
export async function missingTopology(amqp: AmqpConnection, queue: QueueConfig): Promise<readonly string[]> {
  const { name, declare, bind } = queue;
  const missing: string[] = [];
  try {
    if (await hasQueue(amqp, name)) {
      // What is there is only compared.
      if (declare) await onChannel(amqp.channel(), (channel) => answered(channel.assertQueue(name, optionsOf(queue))));
      else await expectType(amqp, queue);
    } else if (declare) missing.push(`the queue ${name}`);
    else await onChannel(amqp.channel(), (channel) => answered(channel.checkQueue(name)));
    for (const { exchange, key, declare: isOurs, type } of bind) {
      const isThere = await hasExchange(amqp, exchange, isOurs);
      if (!isThere) missing.push(`the exchange ${exchange}`);
      else if (isOurs) {
        await onChannel(amqp.channel(), (channel) =>
          answered(channel.assertExchange(exchange, type, { durable: true })),
        );
      }
      missing.push(`the binding of ${name} to ${exchange} by "${key}", unless it is there`);
    }
  } catch (error) {
    throw explain(error, queue, amqp);
  }
  return missing;
}

/**
 * Of a queue that is not declared here: `config.invalid` unless it is of that type. AMQP does not tell what a queue is, only
 * how it differs from what one asks for: so it is asked for as it is, as far as is known by then, until the type is told.
 */
export async function expectType(amqp: AmqpConnection, queue: QueueConfig): Promise<void> {
  const known: Record<string, unknown> = { 'x-queue-type': queue.type };
  for (let asked = 0; asked < mostArguments; asked++) {
    try {
      await onChannel(amqp.channel(), (channel) =>
        answered(channel.assertQueue(queue.name, { durable: true, arguments: known })),
      );
      return;
    } catch (error) {
      const text = messageOf(error);
      const other = /inequivalent arg '([^']+)'.*current is the value '(.*)' of type '(\w+)'/.exec(text);
      const [, name = '', value = '', type = ''] = other ?? [];
      if (other && name !== 'x-queue-type' && !(name in known)) known[name] = valueOf(value, type);
      // Who may not declare cannot ask either; a message tells then (`#hear` of session.ts).
      else if (/ACCESS_REFUSED/.test(text)) return;
      else throw explain(error, queue, amqp);
    }
  }
}

function valueOf(text: string, type: string): unknown {
  if (type === 'longstr') return text;
  return type === 'bool' ? text === 'true' : Number(text);
}

function optionsOf({ type, deliveryLimit, arguments: more }: QueueConfig): Options.AssertQueue {
  const limit = deliveryLimit === undefined ? {} : { 'x-delivery-limit': deliveryLimit };
  return { durable: true, arguments: { ...more, ...limit, 'x-queue-type': type } };
}

/** Rejects when it is not there and nobody would make it. */
async function hasExchange(amqp: AmqpConnection, exchange: string, mayBeMissing: boolean): Promise<boolean> {
  try {
    await onChannel(amqp.channel(), (channel) => answered(channel.checkExchange(exchange)));
    return true;
  } catch (error) {
    if (mayBeMissing && /NOT_FOUND - no exchange/.test(messageOf(error))) return false;
    throw error;
  }
}

async function hasQueue(amqp: AmqpConnection, name: string): Promise<boolean> {
  try {
    await onChannel(amqp.channel(), (channel) => answered(channel.checkQueue(name)));
    return true;
  } catch (error) {
    if (noQueue.test(messageOf(error))) return false;
    throw error;
  }
}

function explain(error: unknown, { name, type }: QueueConfig, amqp: AmqpConnection): unknown {
  // Some of it ends the whole connection, and is told there.
  const text = amqp.connected ? messageOf(error) : `${messageOf(error)} ${amqp.health().lastError ?? ''}`;
  const invalid = (message: string): MillraceError => new MillraceError('config.invalid', message, { cause: error });
  const difference = /PRECONDITION_FAILED - (in(?:equivalent|valid) arg [^"]*)/.exec(text);
  if (difference) {
    return invalid(
      `RabbitMQ has it differently from what this connector asks for: ${difference[1]}. Correct \`type\`, ` +
        '`deliveryLimit` or `arguments`, use the queue as it is by `declare: false`, or remove what is there',
    );
  }
  if (/PRECONDITION_FAILED|NOT_IMPLEMENTED|COMMAND_INVALID|feature flag is disabled/.test(text)) {
    return invalid(`RabbitMQ refuses the ${type} queue ${name}: ${text}`);
  }
  if (noQueue.test(text)) {
    return new Missing(
      `there is no queue ${name}: make it, correct the name, or let it be made by \`declare: true\``,
      error,
    );
  }
  const exchange = /NOT_FOUND - no exchange '([^']*)'/.exec(text);
  if (exchange) {
    return new Missing(
      `there is no exchange ${exchange[1]}: make it, correct the name, or let it be made by \`declare: true\` beside it`,
      error,
    );
  }
  if (/ACCESS_REFUSED/.test(text)) {
    return new Missing(
      `the user may not do that (${text}): it needs to read the queue ${name}, to configure what is declared, and for ` +
        'bindings to write the queue and read the exchange',
      error,
    );
  }
  if (/RESOURCE_LOCKED/.test(text)) return new Missing(`the queue ${name} belongs to another connection alone`, error);
  return error;
}
