import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The longest first: whoever comes last would otherwise work alone at the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification): boolean => moduleId.includes('/test/crash/');
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
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
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    reporters: ['default'],
    // A rejection nobody handles is a bug in the gateway, so it fails the run.
    dangerouslyIgnoreUnhandledErrors: false,
  },
});
