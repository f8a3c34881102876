import { z } from 'zod';
import { bytes, duration } from '../../../core/config/units.ts';
import { defineProvider } from '../../../core/contracts/definition.ts';
import { WorkerProvider } from './provider.ts';

const poolFields = {
  min: z.int().min(0).max(256).describe('Threads of a function that are kept although nothing calls it.'),
  max: z
    .int()
    .min(1)
    .max(256)
    .describe('Threads of a function at most; by default as many as the machine has cores, at least 2.'),
  idle: duration().describe('A thread without work for so long is ended.'),
};
const perThread = z.int().min(1).max(1000);

export const workerConfig = z.strictObject({
  pool: z
    .strictObject({
      min: poolFields.min.default(0),
      max: poolFields.max.optional(),
      idle: duration('60s').describe('A thread without work for so long is ended.'),
    })
    .prefault({})
    .describe('Threads of each function.'),
  perThread: perThread
    .default(1)
    .describe(
      'Invocations at once in one thread. More suits functions that mostly wait; one that runs away then takes its neighbours down.',
    ),
  memory: bytes('256MiB').describe('Heap of one thread; a function that needs more is ended.'),
  grace: duration('1s').describe('What an aborted invocation has to stop by itself before its thread is ended.'),
  start: duration('30s').describe('What a module has to be imported.'),
  maxBody: bytes('6MiB').describe('Largest body that a function gets whole; fetch(request) streams larger ones.'),
  watch: z.boolean().default(true).describe('Take up changes of the files of functions as they are made.'),
});

export const workerFunction = z.strictObject({
  module: z
    .string()
    .min(1)
    .describe('The file, TypeScript or JavaScript; relative to the folder of the configuration.'),
  isolation: z
    .enum(['thread', 'none'])
    .default('thread')
    .describe('none: on the main thread, for tiny functions that are trusted not to block or crash.'),
  pool: z
    .strictObject({ min: poolFields.min.optional(), max: poolFields.max.optional(), idle: poolFields.idle.optional() })
    .prefault({})
    .describe('As of the provider, for this function.'),
  perThread: perThread.optional().describe('As of the provider, for this function.'),
  memory: bytes().optional().describe('As of the provider, for this function.'),
  maxBody: bytes().optional().describe('As of the provider, for this function.'),
});

export default defineProvider({
  kind: 'worker',
  summary: 'Functions in TypeScript or JavaScript, in warm worker threads of the gateway: nothing else to run.',
  config: workerConfig,
  functionConfig: workerFunction,
  examples: [{}, { pool: { min: 1, max: 4 }, memory: '128MiB' }],
  create: (config, host) => new WorkerProvider(config, host),
});
