import { join } from 'node:path';
import { userInfo } from 'node:os';
import type { Recipe } from './plan.ts';

/** Mosquitto that keeps sessions and messages on the disk, a second behind at most. */
export const mqtt: Recipe = {
  variable: 'MILLRACE_TEST_MQTT_URL',
  programs: ['mosquitto', 'mosquitto_pub'],
  packages: ['mosquitto', 'mosquitto-clients'],
  ports: 1,
  plan: ({ folder, ports: [port], settings, programs }) => ({
    url: `mqtt://127.0.0.1:${port}`,
    files: {
      'mosquitto.conf': [
        // As root it would become another user, who may not write here.
        `user ${userInfo().username}`,
        `listener ${port} 127.0.0.1`,
        'allow_anonymous true',
        'persistence true',
        `persistence_location ${folder}/`,
        'autosave_on_changes true',
        'autosave_interval 1',
        'max_queued_messages 100000',
        'log_dest stderr',
        ...settings,
        '',
      ].join('\n'),
    },
    main: { program: programs['mosquitto'] ?? '', args: ['-c', join(folder, 'mosquitto.conf')] },
    ready: /mosquitto version \S+ running/,
  }),
};
