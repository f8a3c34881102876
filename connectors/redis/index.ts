import { defineConnector } from '../../core/contracts/definition.ts';
import type { RedisConnection } from '../../plugins/connections/redis/connection.ts';
import { ChannelConnector } from './channels.ts';
import { redisConnectorConfig } from './config.ts';
import { matchesGlob } from './glob.ts';
import { refuseCluster } from './server.ts';
import { StreamConnector } from './streams.ts';

export default defineConnector({
  kind: 'redis',
  summary: 'Streams of Redis by a consumer group, acknowledged when it is safe; or channels, at most once.',
  config: redisConnectorConfig,
  connection: 'redis',
  messages: { acks: ['processed', 'enqueued'], matches: matchesGlob },
  consumer: ({ stream }) => stream && `the group ${stream.group} of ${[stream.keys ?? stream.key].flat().join(', ')}`,
  topics: ({ stream, channels = [], patterns = [] }) => [stream?.keys ?? stream?.key ?? [], channels, patterns].flat(2),
  examples: [
    { stream: { key: 'orders' } },
    {
      connection: 'main',
      stream: { keys: ['logins', 'logouts'], group: 'audit', start: { time: '2026-11-01T00:00:00Z' }, create: false },
      consumer: '${HOSTNAME}',
      claimIdle: '1m',
      body: 'json',
    },
    { delivery: 'at-most-once', channels: ['news'], patterns: ['weather.*'] },
  ],
  create: (config, host) => {
    const redis = host.connection<RedisConnection>();
    refuseCluster(redis);
    const { stream } = config;
    return stream ? new StreamConnector({ stream, config }, host, redis) : new ChannelConnector(config, host, redis);
  },
});
