import { pino, type Logger } from 'pino';
import { Registry } from 'prom-client';
import { Authenticator } from '../../core/auth/authenticator.ts';
import { Refusals } from '../../core/auth/refusals.ts';
import type { AuthConfig } from '../../core/config/auth.ts';
import { type Clock, systemClock } from '../../core/contracts/clock.ts';

interface Parts {
  readonly clock?: Clock;
  readonly logger?: Logger;
  readonly metrics?: Registry;
}

/** As the gateway makes it of `gateway.auth`. */
export function testAuthenticator(auth: 'none' | AuthConfig = 'none', parts: Parts = {}): Authenticator {
  const { clock = systemClock, logger = pino({ level: 'silent' }), metrics = new Registry() } = parts;
  const refusals = new Refusals(metrics, logger, clock);
  return new Authenticator(auth, { clock, logger, refusals, keySets: new Map() });
}
