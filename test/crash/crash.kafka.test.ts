import { crashOnBroker } from './on-broker.ts';

/** Its successor takes over at once what it had leased, so that the run need not wait for it to be taken for dead. */
await crashOnBroker(
  'kafka',
  (url) => `
connections:
  main: { kind: kafka, brokers: "${url}" }
queues:
  default: { kind: kafka, instance: gateway }`,
);
