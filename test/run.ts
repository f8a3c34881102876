import { join } from 'node:path';

// `npm test`: vitest, with one option more. `--require-brokers`: a test whose broker is missing fails.
const option = '--require-brokers';
const [node = '', file = '', ...given] = process.argv;
if (given.includes(option)) process.env['MILLRACE_REQUIRE_BROKERS'] = '1';
// What is started over and over, as gateways that are killed are, is compiled once.
process.env['NODE_COMPILE_CACHE'] ??= join(import.meta.dirname, '../.compile-cache');
const config = ['run', '--config', 'test/vitest.config.ts'];
process.argv = [node, file, ...config, ...given.filter((argument) => argument !== option)];
// @ts-expect-error -- vitest's command line has no types: it is not for being imported.
await import('../node_modules/vitest/vitest.mjs');
