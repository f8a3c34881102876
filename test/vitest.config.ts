import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The longest first: whoever comes last would otherwise work alone at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // A file of three lines may run a whole contract, so its size says nothing.
    const rank = ({ moduleId }: TestSpecification): number =>
      ['/test/chaos/', '/test/contract/', '/test/fuzz/', '/test/'].findIndex((folder) => moduleId.includes(folder));
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other));
  }
}

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
    // One more than the machines have cores: tests of brokers wait for leases, outages and returns most of the time.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    reporters: ['default'],
    // A rejection nobody handles is a bug in the gateway, so it fails the run.
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
