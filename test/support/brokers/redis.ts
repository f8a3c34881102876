import { join } from 'node:path';
import type { Recipe } from './plan.ts';

/** Redis that keeps what it was given: a journal of every command, and nothing evicted. */
export const redis: Recipe = {
  variable: 'MILLRACE_TEST_REDIS_URL',
  programs: ['redis-server'],
  packages: ['redis-server'],
  ports: 1,
  plan: ({ folder, ports: [port], settings, programs }) => ({
    url: `redis://127.0.0.1:${port}`,
    files: {
      'redis.conf': [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${folder}`,
        'daemonize no',
        'save ""',
        'appendonly yes',
        'appendfsync everysec',
        'maxmemory-policy noeviction',
        ...settings,
      ].join('\n'),
    },
    main: { program: programs['redis-server'] ?? '', args: [join(folder, 'redis.conf')] },
    ready: /Ready to accept connections/,
  }),
};
