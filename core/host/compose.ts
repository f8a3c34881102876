import { Registry } from '../observe/prometheus.ts';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import { type Clock, systemClock } from '../contracts/clock.ts';
import { Deadlines } from '../delivery/deadlines.ts';
import { Catalog } from '../functions/catalog.ts';
import { Events } from '../observe/events.ts';
import { Meter } from '../observe/meter.ts';
import type { Tracing } from '../observe/tracing.ts';
import { createContainer, provide, provideValue, type DependencyContainer } from './container.ts';
import {
  catalogToken,
  clockToken,
  configToken,
  deadlinesToken,
  eventsToken,
  loggerToken,
  meterToken,
  metricsToken,
  tracingToken,
} from './tokens.ts';

/** The composition root: which part of the process is made of which others. */
export function compose(
  config: Config,
  logger: Logger,
  clock: Clock = systemClock,
  tracing?: Tracing,
): DependencyContainer {
  const container = createContainer();
  provideValue(container, configToken, config);
  provideValue(container, loggerToken, logger);
  provideValue(container, clockToken, clock);
  provide(container, metricsToken, () => new Registry());
  provide(container, meterToken, (parts) => new Meter(parts.resolve(metricsToken)));
  provide(container, eventsToken, (parts) => new Events(parts.resolve(clockToken)));
  provide(container, catalogToken, (parts) => new Catalog(config.gateway.namespace, parts.resolve(clockToken)));
  provide(container, deadlinesToken, (parts) => new Deadlines(parts.resolve(clockToken)));
  provide(container, tracingToken, () => tracing);
  return container;
}
