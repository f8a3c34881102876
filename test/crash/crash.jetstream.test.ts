import { crashOnBroker } from './on-broker.ts';

/** Its successor takes over at once what it had leased, so that the run need not wait for it to be taken for dead. */
await crashOnBroker(
  'nats',
  (url) => `
connections:
  main: { kind: nats, servers: "${url}" }
queues:
  default: { kind: jetstream, instance: gateway }`,
);
