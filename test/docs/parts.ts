/** What a page takes for granted: the blocks `yaml part` are put into this. */
export const parts: Readonly<Record<string, string>> = {
  'docs/auth.md': 'gateway: { auth: { basic: { user: admin, password: "${file:/run/secrets/password}" } } }',
  'docs/connectors.md': `
connections: { main: { kind: nats } }
functions: { charge: { module: ./charge.ts } }
connectors: { orders: { kind: jetstream, connection: main, stream: ORDERS, durable: millrace, function: charge } }
`,
};
