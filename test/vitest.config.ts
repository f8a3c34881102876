import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    // Brokers are started there when a test file first asks for one.
    globalSetup: 'test/support/broker-server.ts',
    include: ['test/**/*.test.ts', 'core/**/*.test.ts'],
    // Each promise's bound holds on a slow machine; a test that needs longer says so itself.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    fileParallelism: true,
    maxWorkers: 2,
    reporters: ['default'],
    // A rejection nobody handles is a bug in the gateway, so it fails the run.
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
