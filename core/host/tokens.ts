import type { Registry } from 'prom-client';
import type { Logger } from 'pino';
import type { Clock } from '../contracts/clock.ts';
import type { Config } from '../config/schema.ts';
import type { Catalog } from '../functions/catalog.ts';
import type { Deadlines } from '../delivery/deadlines.ts';
import type { Events } from '../observe/events.ts';
import type { Meter } from '../observe/meter.ts';
import type { Tracing } from '../observe/tracing.ts';
import { token } from './container.ts';

/** What the process has one of. Registered in the composition root (core/host/compose.ts), made when first asked for. */
export const clockToken = token<Clock>('Clock');
export const loggerToken = token<Logger>('Logger');
export const configToken = token<Config>('Config');
export const metricsToken = token<Registry>('Metrics');
export const meterToken = token<Meter>('Meter');
export const eventsToken = token<Events>('Events');
export const catalogToken = token<Catalog>('Catalog');
export const deadlinesToken = token<Deadlines>('Deadlines');
export const tracingToken = token<Tracing | undefined>('Tracing');
