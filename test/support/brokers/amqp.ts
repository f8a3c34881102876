import { join } from 'node:path';
import type { Recipe } from './plan.ts';

/** RabbitMQ of its own: no node, name service, cookie or plugin is shared with another one of this machine. */
export const amqp: Recipe = {
  variable: 'MILLRACE_TEST_AMQP_URL',
  programs: ['rabbitmq-server', 'epmd'],
  packages: ['rabbitmq-server'],
  ports: 3,
  plan: ({ folder, ports: [port, distribution, names], settings, programs }) => {
    const env = {
      HOME: folder, // Erlang keeps its cookie there.
      ERL_EPMD_ADDRESS: '127.0.0.1',
      ERL_EPMD_PORT: String(names),
      // The script becomes the broker, and does not stay beside it.
      RUNNING_UNDER_SYSTEMD: 'true',
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
      RABBITMQ_NODENAME: `millrace-${port}@localhost`,
      RABBITMQ_DIST_PORT: String(distribution),
      RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
      RABBITMQ_LOG_BASE: join(folder, 'logs'),
      RABBITMQ_LOGS: '-',
      RABBITMQ_PID_FILE: join(folder, 'rabbitmq.pid'),
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    };
    return {
      url: `amqp://127.0.0.1:${port}`,
      files: {
        'rabbitmq.conf': [`listeners.tcp.1 = 127.0.0.1:${port}`, ...settings, ''].join('\n'),
        enabled_plugins: '[].\n',
      },
      // Erlang would start one that stays for ever, on the port that all share.
      beside: { program: programs['epmd'] ?? '', args: ['-address', '127.0.0.1', '-port', String(names)], env },
      main: { program: programs['rabbitmq-server'] ?? '', args: [], env },
      ready: /Server startup complete/,
    };
  },
};
