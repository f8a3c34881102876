/** What plugins are written against: `import { defineQueue } from 'millrace'`. */
export { type Clock, sleep, systemClock } from './contracts/clock.ts';
export { defineConnection, defineConnector, defineProvider, defineQueue, defineStore } from './contracts/definition.ts';
export type * from './contracts/definition.ts';
export { Delivery } from './contracts/delivery.ts';
export type * from './contracts/delivery.ts';
export { type ErrorCode, errorCodes, messageOf, MillraceError } from './contracts/errors.ts';
export { finalStates, invocationStates } from './contracts/invocation.ts';
export type * from './contracts/connection.ts';
export type * from './contracts/connector.ts';
export type * from './contracts/deployment.ts';
export type * from './contracts/invocation.ts';
export type * from './contracts/journal.ts';
export type * from './contracts/message.ts';
export type * from './contracts/policy.ts';
export type * from './contracts/provider.ts';
export type * from './contracts/queue.ts';
export type * from './contracts/route.ts';
export type * from './contracts/store.ts';
export { bytes, connectionName, duration, parseBytes, parseDuration, secret } from './config/units.ts';
/** A queue out of three logs: give it a `JournalSet`. */
export { LedgerQueue, type LedgerOptions } from './ledger/queue.ts';
export { ledgerConfig, ledgerSettings } from './ledger/config.ts';
