import { join } from 'node:path';
import type { Recipe } from './plan.ts';

/** NATS with JetStream on the disk. */
export const nats: Recipe = {
  variable: 'MILLRACE_TEST_NATS_URL',
  programs: ['nats-server'],
  packages: ['nats-server'],
  ports: 1,
  plan: ({ folder, ports: [port], settings, programs }) => ({
    url: `nats://127.0.0.1:${port}`,
    files: {
      'nats.conf': [
        `listen: "127.0.0.1:${port}"`,
        `server_name: "millrace-${port}"`,
        `jetstream { store_dir: ${JSON.stringify(join(folder, 'jetstream'))} }`,
        ...settings,
      ].join('\n'),
    },
    main: { program: programs['nats-server'] ?? '', args: ['-c', join(folder, 'nats.conf')] },
    ready: /Server is ready/,
  }),
};
