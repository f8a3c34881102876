import { z } from 'zod';
import { bytes, duration, timeLimit } from '../../../core/config/units.ts';
import { defineProvider } from '../../../core/contracts/definition.ts';
import { ProcessProvider } from './provider.ts';

const probe = z.strictObject({
  path: z.string().regex(/^\//, 'expected a path such as /_/ready').describe('GET of it is answered 2xx.'),
  period: timeLimit('1s').describe('From one look to the next.'),
  timeout: timeLimit('1s').describe('For one look.'),
  failures: z.int().min(1).max(1000).default(3).describe('So many in a row, and the process is replaced.'),
});

/** What an image stands for, and what a function may say itself. */
const runFields = {
  command: z
    .union([z.string().min(1), z.array(z.string()).min(1)])
    .optional()
    .describe('What is run: a list, or a line that is split as a shell splits words. No shell is started.'),
  mode: z
    .enum(['fork', 'streaming', 'http'])
    .optional()
    .describe(
      'fork (standard): a process for each call, stdin to stdout; streaming: the answer goes out as it is written; ' +
        'http: servers that keep running, each on a port of its own.',
    ),
  upstreamUrl: z
    .string()
    .optional()
    .describe('http: where the server listens, on this host. Without a port it gets one, in PORT.'),
  cwd: z.string().min(1).optional().describe('Folder of the process; relative to that of the configuration.'),
  contentType: z.string().min(1).optional().describe('Of every answer of fork and streaming.'),
  combineOutput: z
    .boolean()
    .optional()
    .describe('fork: what is written on stderr is part of the answer, as with the classic watchdog (standard: true).'),
  maxInflight: z
    .int()
    .min(0)
    .optional()
    .describe('Calls at once in one replica; more are answered 429 by the function. 0: no such limit.'),
  ready: probe
    .pick({ path: true, period: true, timeout: true })
    .optional()
    .describe('http: when a server may be called. Without it: when it accepts a connection.'),
  health: probe.optional().describe('http: a server that fails it is replaced. Without it: when it ends.'),
};

const perReplica = z.int().min(1).max(10_000);

export const processConfig = z.strictObject({
  images: z
    .record(z.string().min(1), z.strictObject(runFields))
    .default({})
    .describe('What runs in place of an image: by its name, its name without a tag, or with * for any characters.'),
  allowDeploy: z
    .boolean()
    .default(false)
    .describe('Functions may be deployed through the API. They run commands on this host.'),
  secretsPath: z.string().min(1).optional().describe('Folder with a file for each secret.'),
  secretsLink: z
    .string()
    .min(1)
    .optional()
    .describe('Is made a link to secretsPath: /var/openfaas/secrets for functions that know no other place.'),
  perReplica: perReplica
    .default(100)
    .describe('Calls at once for each replica of a function; without http so many processes.'),
  maxOutput: bytes('6MiB').describe('fork: largest answer; a process that writes more is ended.'),
  grace: timeLimit('2s').describe('From SIGTERM to SIGKILL.'),
  start: timeLimit('30s').describe('http: what a server has to become ready.'),
});

export const processFunction = z.strictObject({
  ...runFields,
  image: z.string().min(1).optional().describe('A name that the images of the provider know.'),
  envProcess: z.string().min(1).optional().describe("Another word for command, OpenFaaS' own."),
  replicas: z
    .int()
    .min(0)
    .max(1000)
    .default(1)
    .describe('http: so many servers. Else so many times perReplica processes.'),
  perReplica: perReplica.optional().describe('As of the provider, for this function.'),
  secrets: z.array(z.string()).default([]).describe('Files of secretsPath, found under the folder SECRETS_PATH.'),
  limits: z
    .strictObject({
      memory: bytes()
        .optional()
        .describe('Of each process (RLIMIT_DATA, stacks of threads included: Node needs 256MiB to begin with).'),
      cpuTime: duration()
        .optional()
        .describe('Of each process, in whole seconds (RLIMIT_CPU): of one call, or of the life of a server.'),
    })
    .prefault({})
    .describe('What prlimit of util-linux can hold a process to.'),
});

export default defineProvider({
  kind: 'process',
  summary: "Commands on this host, as OpenFaaS' watchdogs run them: one for each call, or servers that keep running.",
  config: processConfig,
  functionConfig: processFunction,
  examples: [{}, { secretsPath: './secrets', images: { 'ghcr.io/openfaas/alpine': {} } }],
  create: (config, host) => new ProcessProvider(config, host),
});
