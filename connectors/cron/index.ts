import { defineConnector } from '../../core/contracts/definition.ts';
import { AnnotatedCron } from './annotated.ts';
import { cronConfig, isSlotConfig } from './config.ts';
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
    { annotation: 'schedule' },
  ],
  create: (config, host) => (isSlotConfig(config) ? new CronConnector(config, host) : new AnnotatedCron(config, host)),
});
