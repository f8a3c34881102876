import { defineConnector } from '../../core/contracts/definition.ts';
import { cronConfig } from './config.ts';
import { CronConnector } from './connector.ts';

export default defineConnector({
  kind: 'cron',
  summary: 'Runs a function on a schedule: each slot once, across restarts and replicas.',
  config: cronConfig,
  examples: [
    { schedule: '@every 30s', function: 'poll' },
    {
      schedule: '15 3 * * MON-FRI',
      timeZone: 'Europe/Berlin',
      jitter: '2m',
      overlap: 'skip',
      catchUp: { mode: 'latest', window: '6h' },
      exclude: ['2026-12-25'],
      event: { type: 'report.nightly', data: { full: true } },
      function: 'notify',
    },
  ],
  create: (config, host) => new CronConnector(config, host),
});
