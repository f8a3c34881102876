import { Counter, type Registry } from './prometheus.ts';
import type { ConnectionEnd } from '../api/caller-connections.ts';

/** Counts the connections of callers that were one too many, or too slow. */
export function callerMetrics(registry: Registry): (reason: ConnectionEnd) => void {
  const ended = new Counter({
    name: 'millrace_http_connections_ended_total',
    help: 'Connections of callers that gateway.limits.http has refused (connections, address) or ended (idle, slow).',
    labelNames: ['reason'],
    registers: [registry],
  });
  for (const reason of ['connections', 'address', 'idle', 'slow'] as const) ended.inc({ reason }, 0);
  return (reason) => ended.inc({ reason });
}
