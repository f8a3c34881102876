import { Counter, Gauge, type Registry } from './prometheus.ts';

/** What is measured of one connection. */
interface Measured {
  readonly name: string;
  readonly state: string;
  readonly reconnects: number;
}

/** Metrics of the connections, read at each scrape. */
export function connectionMetrics(registry: Registry, connections: () => readonly Measured[]): void {
  const common = { labelNames: ['connection'] as const, registers: [registry] };
  new Gauge({
    ...common,
    name: 'millrace_connection_up',
    help: '1 while the broker can be reached, else 0.',
    collect() {
      this.reset(); // One that has been removed is neither up nor down.
      for (const { name, state } of connections()) this.set({ connection: name }, state === 'connected' ? 1 : 0);
    },
  });
  new Counter({
    ...common,
    name: 'millrace_connection_reconnects_total',
    help: 'How often the connection was lost and won again.',
    collect() {
      this.reset();
      for (const { name, reconnects } of connections()) this.inc({ connection: name }, reconnects);
    },
  });
}
