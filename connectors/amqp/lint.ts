import type { ConnectorLint } from '../../core/contracts/definition.ts';
import type { AmqpConnectorConfig } from './config.ts';

/** The consumer_timeout of RabbitMQ unless it is set. */
const consumerTimeoutMs = 1_800_000;

/** What `millrace check` warns of. */
export const amqpLint: ConnectorLint<AmqpConnectorConfig> = {
  rules: {
    'amqp-consumer-timeout': {
      summary: 'A function may run for longer than RabbitMQ waits for an acknowledgement.',
      why:
        'After its consumer_timeout, 30 minutes unless it is set, the broker closes the channel and takes back all that it has ' +
        'lent, every time. `ack: enqueued` acknowledges at once what is safe in the queue of the function.',
    },
    'amqp-delivery-limit': {
      summary: 'A quorum queue drops what was given too often.',
      why:
        'What consumers did not settle `deliveryLimit` times (gateways that died, or were stopped while it ran) goes to the dead ' +
        'letter exchange of the queue, or nowhere. Give `x-dead-letter-exchange` in `arguments`, or by a policy of the broker.',
    },
  },
  *check({ queue: { deliveryLimit, arguments: more } }, { ack, longestTimeoutMs }) {
    if (ack === 'processed' && longestTimeoutMs > consumerTimeoutMs) {
      const message =
        'with ack: processed its functions may run for longer than 30 minutes, after which RabbitMQ gives up';
      yield { path: ['queue'], code: 'amqp-consumer-timeout', message };
    }
    if (deliveryLimit !== undefined && more['x-dead-letter-exchange'] === undefined) {
      const message = 'what reaches deliveryLimit is dropped: arguments has no x-dead-letter-exchange';
      yield { path: ['queue', 'deliveryLimit'], code: 'amqp-delivery-limit', message };
    }
  },
};
