import { startBroker } from './brokers.ts';

// Starts a broker and dies without a word, as a test run may.
const { pid, folder } = await startBroker('redis');
process.stdout.write(`${JSON.stringify({ pid, folder })}\n`, () => process.kill(process.pid, 'SIGKILL'));
