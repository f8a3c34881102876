import fc from 'fast-check';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect } from 'vitest';
import { CliError } from '../../core/cli/command.ts';
import { readStack } from '../../core/cli/stack.ts';
import { loadConfig } from '../../core/config/load.ts';
import { parseTree } from '../../core/config/tree.ts';
import { Credentials } from '../../plugins/providers/kubernetes/credentials.ts';
import { builtIns, testDefaults } from '../support/gateway.ts';
import { times } from '../support/promise.ts';
import { fuzz } from './fuzz.ts';
import { nearly, noise } from './inputs.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-fuzz-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const runs = times(10_000, 50_000);

/** A file that holds this. */
function fileOf(text: string): string {
  const file = join(folder, 'file.yaml');
  writeFileSync(file, text);
  return file;
}

const root = join(import.meta.dirname, '../..');
/** Configurations that are valid, and some that are not; of long ones less would be looked at in the same time. */
const yamls = ['test/golden/*.yaml', 'config/examples/*.yaml']
  .flatMap((pattern) =>
    globSync(pattern, { cwd: root }).map(
      (file) => readFileSync(join(root, file), 'utf8').split('--- expected')[0] ?? '',
    ),
  )
  .filter((text) => text.length < 1500);
const yaml = fc.oneof({ weight: 5, arbitrary: nearly(...yamls) }, { weight: 1, arbitrary: noise });
const environment = { ADMIN_PASSWORD: 'correct horse', PORT: '8443' };

fuzz({
  name: 'a file of YAML',
  inputs: yaml,
  parse: (text) => parseTree(text, 'millrace.yaml', environment, folder),
  holds: ({ value, problems }) => {
    if (value === undefined) expect(problems.length).toBeGreaterThan(0);
    for (const { line, column } of problems) expect(Math.min(line, column)).toBeGreaterThanOrEqual(1);
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
  },
  // A syntax that is nearly as good.
  planted: (text) => ({ ...parseTree(text, 'millrace.yaml', environment, folder), value: undefined }),
});

fuzz({
  name: 'a configuration',
  runs,
  inputs: yaml,
  parse: (text) => loadConfig(fileOf(text), builtIns(), testDefaults, environment),
  holds: ({ config, problems }) => {
    expect(config === undefined).toBe(problems.some(({ severity }) => severity === 'error'));
    for (const { line, column } of problems) expect(Math.min(line, column)).toBeGreaterThanOrEqual(1);
  },
  planted: async (text) => {
    // Only what the YAML itself says of its mistakes.
    const { problems } = parseTree(text, 'millrace.yaml', environment, folder);
    return {
      ...(await loadConfig(fileOf(text), builtIns(), testDefaults, environment)),
      problems: problems.map((one) => ({ ...one, text: '' })),
    };
  },
});

const stack = `provider: { name: openfaas }
functions:
  hello: { image: "hello:\${TAG:-1}", environment: { N: 1 }, labels: { a: b }, limits: { memory: 1Mi } }
`;
fuzz({
  name: 'a stack file of OpenFaaS',
  runs,
  inputs: fc.oneof(nearly(stack), noise),
  parse: (text) => readStack(fileOf(text), {}),
  mayThrow: (error) => error instanceof CliError,
  holds: (deployments) => {
    for (const { service, namespace } of deployments)
      expect([typeof service, namespace]).toEqual(['string', expect.any(String)]);
  },
  planted: (text) => [{ service: text, namespace: 1 as unknown as string }],
});

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{ name: c, cluster: { server: "https://127.0.0.1:6443" } }]
users: [{ name: u, user: { token: t } }]
contexts: [{ name: x, context: { cluster: c, user: u, namespace: n } }]
current-context: x
`;
fuzz({
  name: 'a kubeconfig',
  runs,
  inputs: fc.oneof(nearly(kubeconfig), noise),
  parse: async (text) => (await Credentials.load({ kubeconfig: fileOf(text) }, folder)).server,
  holds: (server) => expect(server.protocol).toMatch(/^https?:$/),
  planted: (text) => new URL(/server: "(.*)"/.exec(text)?.[1] ?? ''),
});
