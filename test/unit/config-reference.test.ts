import { createHash } from 'node:crypto';
import { Command } from 'commander';
import fastify, { type FastifyInstance } from 'fastify';
import { globSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { registerCommands } from '../../core/cli/commands.ts';
import type { CliContext } from '../../core/cli/context.ts';
import { loadConfig } from '../../core/config/load.ts';
import { generatedFiles, jsonSchema } from '../../core/config/reference.ts';
import { unwrapped } from '../../core/config/issues.ts';
import { rootSchema } from '../../core/config/schema.ts';
import { secret } from '../../core/config/units.ts';
import { defineProvider, defineQueue, type PluginDefinition } from '../../core/contracts/definition.ts';
import type { Provider } from '../../core/contracts/provider.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import { Registry } from '../../core/host/registry.ts';
import { builtIns } from '../support/gateway.ts';
import linePlugins from '../support/plugins/line.ts';

const root = join(import.meta.dirname, '../..');
const definitions = await builtIns().all();
const named = definitions.map((one) => [`${one.type} ${one.kind}`, one] as const);

/** As main has it. */
const context = (registry = builtIns()): CliContext => ({
  registry,
  defaults: {
    queues: { default: { kind: 'sqlite', path: 'data/queue.db' } },
    stores: { default: { kind: 'sqlite', path: 'data/store.db' } },
    providers: { worker: { kind: 'worker' } },
    connectors: { http: { kind: 'http' } },
  },
});

function fileOf(yaml: string): string {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-reference-')), 'millrace.yaml');
  writeFileSync(file, yaml);
  return file;
}

/** Every field of the schema with its path. */
function fieldsOf(schema: z.ZodType, path: string): [string, z.ZodType][] {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodUnion) return (inner.options as z.ZodType[]).flatMap((option) => fieldsOf(option, path));
  if (inner instanceof z.ZodRecord) return fieldsOf(inner.valueType as z.ZodType, `${path}.NAME`);
  if (inner instanceof z.ZodArray) return fieldsOf(inner.element as z.ZodType, `${path}[]`);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape as Record<string, z.ZodType>).flatMap(([key, field]): [string, z.ZodType][] => [
    [`${path}.${key}`, field],
    ...fieldsOf(field, `${path}.${key}`),
  ]);
}

function described(schema: z.ZodType): boolean {
  if (schema.description !== undefined) return true;
  const wrapped = schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault;
  return wrapped && described(schema.unwrap() as z.ZodType);
}

describe('every setting', () => {
  it('of the core says what it means', () => {
    expect(fieldsOf(rootSchema, '').filter(([, field]) => !described(field))).toEqual([]);
  });
  it.each(named)('of the %s says what it means', (_name, definition) => {
    const own = fieldsOf(definition.config, '');
    const ofFunctions = definition.type === 'provider' ? fieldsOf(definition.functionConfig, '') : [];
    expect([...own, ...ofFunctions].filter(([, field]) => !described(field)).map(([path]) => path)).toEqual([]);
  });
  it.each(named)('in the examples of the %s is right', (_name, { config, examples }) => {
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) expect(config.safeParse(example).error).toBeUndefined();
  });
  it.each(named)('that the %s does not know is refused', (_name, { config, examples }) => {
    expect(config.safeParse({ ...(examples[0] as object), noSuchSetting: 1 }).success).toBe(false);
  });
});

describe('the JSON Schema for editors', () => {
  /** Compiling one takes a second. */
  const validators = new Map<readonly PluginDefinition[], FastifyInstance>();
  function validatorOf(of: readonly PluginDefinition[]): FastifyInstance {
    const app = fastify({
      ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, strict: false } },
    });
    const { $schema: _, ...schema } = jsonSchema(of);
    app.post('/', { schema: { body: schema } }, async () => 'ok');
    validators.set(of, app);
    return app;
  }
  afterAll(() => Promise.all([...validators.values()].map((app) => app.close())));
  /** Whether an editor would accept the data: Fastify's validator knows draft 7. */
  async function accepts(data: unknown, of: readonly PluginDefinition[] = definitions): Promise<boolean> {
    const app = validators.get(of) ?? validatorOf(of);
    const { statusCode } = await app.inject({ method: 'POST', url: '/', payload: data as object });
    return statusCode === 200;
  }
  const shipped = globSync(['config/{millrace,examples/*}.yaml', 'examples/*/millrace.yaml'], { cwd: root });
  const secrets = Object.fromEntries(['WEBHOOK', 'PUSH', 'ISSUES'].map((name) => [`${name}_SECRET`, 'from-outside']));
  it.each(shipped)('accepts %s, which is valid', async (file) => {
    const path = join(root, file);
    expect(await accepts(parse(readFileSync(path, 'utf8')))).toBe(true);
    const { problems } = await loadConfig(path, builtIns(), context().defaults, secrets);
    expect(problems.map(({ text }) => text)).toEqual([]);
  });
  it.each(['whole.yaml', 'smallest.yaml', 'circles.yaml'])('accepts what check accepts (%s)', async (name) => {
    const [yaml = ''] = readFileSync(join(root, 'test/golden', name), 'utf8').split('--- expected');
    expect(await accepts(parse(yaml) ?? {})).toBe(true);
  });
  it.each([
    'issue-example.yaml',
    'misspelt-keys.yaml',
    'misspelt-keys-of-functions.yaml',
    'wrong-types.yaml',
    'bad-names.yaml',
  ])('refuses what check refuses (%s)', async (name) => {
    const [yaml = ''] = readFileSync(join(root, 'test/golden', name), 'utf8').split('--- expected');
    expect(await accepts(parse(yaml))).toBe(false);
  });
  it('knows that a reference may stand for a number', async () => {
    expect(await accepts({ gateway: { listen: { port: '${PORT:8080}' } } })).toBe(true);
    expect(await accepts({ gateway: { listen: { port: 'PORT' } } })).toBe(false);
  });
  it('knows connections, and what works over them', async () => {
    const withLine = [...definitions, ...linePlugins];
    const yaml = { connections: { main: { kind: 'line', port: 1 } }, queues: { default: { kind: 'line-queue' } } };
    expect(await accepts(yaml, withLine)).toBe(true);
    expect(await accepts({ ...yaml, queues: { default: { kind: 'line-queue', connection: 'main' } } }, withLine)).toBe(
      true,
    );
    expect(await accepts({ connections: { main: { kind: 'line', prot: 1 } } }, withLine)).toBe(false);
    // Without any kind of connection the section is an empty choice, which would be no schema at all.
    expect(
      await accepts(
        {},
        definitions.filter(({ type }) => type !== 'connection'),
      ),
    ).toBe(true);
  });
  it('has no bounds that only say what a JavaScript number can hold', () => {
    expect(JSON.stringify(jsonSchema(definitions))).not.toContain(String(Number.MAX_SAFE_INTEGER));
  });
});

describe('generated files', () => {
  it.each(Object.entries(generatedFiles(definitions)))('%s is up to date', (file, text) => {
    expect(readFileSync(join(root, file), 'utf8') === text, `${file}: run npm run generate`).toBe(true);
  });
});

describe('plugins of others', () => {
  const parts = (): Registry =>
    new Registry({ connections: {}, connectors: {}, queues: {}, stores: {}, providers: {} });
  const queueOf = (kind: string): string =>
    `{ type: 'queue', kind: '${kind}', summary: 'For a test.', config: z.strictObject({}), examples: [{}], capabilities: {}, create() {} }`;
  const moduleOf = (...kinds: string[]): string => {
    const zod = join(root, 'node_modules/zod/index.js');
    return `import { z } from '${zod}';\nexport default [${kinds.map(queueOf).join(', ')}];\n`;
  };
  function folderOf(files: Readonly<Record<string, string>>): string {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-modules-'));
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(folder, name, '..'), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    return folder;
  }
  it('are found by path and by package name, packages for import only too', async () => {
    const folder = folderOf({
      'mine.mjs': moduleOf('mine'),
      'node_modules/plain/package.json': '{ "name": "plain", "type": "module", "main": "main.js" }',
      'node_modules/plain/main.js': moduleOf('plain'),
      'node_modules/@acme/modern/package.json':
        '{ "name": "@acme/modern", "type": "module", "exports": { ".": { "import": "./a.js" }, "./more": { "import": { "node": "./b.js" } } } }',
      'node_modules/@acme/modern/a.js': moduleOf('modern'),
      'node_modules/@acme/modern/b.js': moduleOf('more'),
    });
    const registry = parts();
    for (const name of ['./mine.mjs', 'plain', '@acme/modern', '@acme/modern/more', './mine.mjs']) {
      await registry.addModule(name, folder);
    }
    expect(registry.kinds('queue')).toEqual(['mine', 'plain', 'modern', 'more']);
  });
  it('are refused by name, and leave nothing behind', async () => {
    const folder = folderOf({
      'twice.mjs': moduleOf('one', 'two', 'one'),
      'throws.mjs': 'throw new Error("not today");\n',
      'none.mjs': 'export const a = 1;\n',
      'half.mjs': `export default { type: 'queue', kind: 'half', config: {}, create() {} };\n`,
    });
    const registry = parts();
    const refusal = (name: string): Promise<string> =>
      registry.addModule(name, folder).then(
        () => 'accepted',
        (error: Error) => error.message,
      );
    expect(await refusal('./twice.mjs')).toBe('plugin module "./twice.mjs": there is already a queue of kind "one"');
    expect(await refusal('./throws.mjs')).toMatch(/"\.\/throws\.mjs" cannot be loaded: .*not today/);
    expect(await refusal('./none.mjs')).toMatch(/"\.\/none\.mjs": expected its default export to be/);
    expect(await refusal('./half.mjs')).toMatch(/"\.\/half\.mjs": expected its default export to be/);
    expect(await refusal('./missing.mjs')).toMatch(/"\.\/missing\.mjs" cannot be loaded/);
    expect(await refusal('nowhere')).toMatch(/"nowhere" is not installed/);
    expect(registry.kinds('queue')).toEqual([]);
  });

  const stub = { summary: 'For a test.', examples: [{}] };
  const weakQueue = defineQueue({
    ...stub,
    kind: 'weak',
    config: z.strictObject({ tokens: z.array(z.strictObject({ token: secret() })).default([]) }),
    capabilities: {
      fencedSettle: 'none',
      delay: 'native',
      priority: 'none',
      order: 'none',
      dedup: 'none',
      deadLetters: 'native',
      results: 'none',
      pause: 'none',
      cancel: 'none',
      durable: 'native',
    },
    create: () => ({}) as Queue,
  });
  const keyed = defineProvider({
    ...stub,
    kind: 'keyed',
    config: z.strictObject({}).transform((config) => config),
    functionConfig: z.strictObject({ key: secret().optional() }),
    create: () => ({}) as Provider,
  });
  const broken = defineQueue({
    ...stub,
    kind: 'broken',
    config: z.unknown().transform(() => {
      throw new Error('a bug in the schema');
    }),
    capabilities: weakQueue.type === 'queue' ? weakQueue.capabilities : ({} as never),
    create: () => ({}) as Queue,
  });
  const registryOf = (...added: PluginDefinition[]): Registry => {
    const registry = builtIns();
    for (const definition of added) registry.add(definition);
    return registry;
  };
  async function textsOf(yaml: string, registry: Registry) {
    const loaded = await loadConfig(fileOf(yaml), registry, context().defaults, { KEY: 'from-outside' });
    return { ...loaded, texts: loaded.problems.map(({ text }) => text.replace(/^.*millrace.yaml/, 'millrace.yaml')) };
  }
  it('are not asked for what they cannot do', async () => {
    const yaml = `queues: { default: { kind: weak } }
functions:
  asks: { module: ./a.ts, invoke: { priority: 9, result: { store: true } } }
  content: { module: ./a.ts, invoke: { result: { store: false } } }
`;
    expect((await textsOf(yaml, registryOf(weakQueue))).texts).toEqual([
      'millrace.yaml:3:37 functions.asks.invoke.priority: queue "default" (weak) has no priority: see millrace plugins',
      'millrace.yaml:3:60 functions.asks.invoke.result.store: queue "default" (weak) has no results: see millrace plugins',
    ]);
  });
  it('have secrets anywhere, of functions too', async () => {
    const yaml = `queues: { default: { kind: weak, tokens: [{ token: "\${KEY}" }, { token: literal-token }] } }
providers: { keyed: { kind: keyed } }
functions: { a: { key: literal-key } }
`;
    const { config, texts } = await textsOf(yaml, registryOf(weakQueue, keyed));
    expect(config?.secrets.toSorted()).toEqual(['from-outside', 'literal-key', 'literal-token']);
    expect(texts).toEqual([
      expect.stringMatching(/^millrace.yaml:1:\d+ queues.default.tokens.1.token: warning: a secret stands in the file/),
      expect.stringMatching(/^millrace.yaml:3:19 functions.a.key: warning: a secret stands in the file/),
    ]);
  });
  it('may have a schema that throws: it is told, with its place', async () => {
    const { texts } = await textsOf('queues:\n  default: { kind: broken }\n', registryOf(broken));
    expect(texts).toEqual(['millrace.yaml:2:3 queues.default: its schema failed: a bug in the schema']);
  });
});

describe('the command', () => {
  const printed = { out: '', err: '' };
  async function run(...words: string[]): Promise<{ out: string; err: string; code: string | number | undefined }> {
    Object.assign(printed, { out: '', err: '' });
    vi.spyOn(console, 'log').mockImplementation((text: unknown) => void (printed.out += `${String(text)}\n`));
    vi.spyOn(console, 'error').mockImplementation((text: unknown) => void (printed.err += `${String(text)}\n`));
    process.exitCode = 0;
    const program = new Command('millrace').exitOverride();
    await registerCommands(program, context(), words[0]);
    await program.parseAsync(words, { from: 'user' });
    return { ...printed, code: process.exitCode };
  }
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = 0;
  });
  it('check ends with 2 and prints every problem as an error', async () => {
    const file = fileOf('a: 1\nb: 2\n');
    expect(await run('check', file)).toEqual({
      out: '',
      err: `${file}:1:1 a: unknown key\n${file}:2:1 b: unknown key\n`,
      code: 2,
    });
    const { out, code } = await run('check', file, '--json');
    expect(code).toBe(2);
    expect(JSON.parse(out)).toMatchObject({
      valid: false,
      problems: [
        { line: 1, path: 'a' },
        { line: 2, path: 'b' },
      ],
    });
  });
  it('check ends with 0 when only warnings are told', async () => {
    const file = fileOf('gateway: { auth: { basic: { user: a, password: hunter22 } } }\n');
    const { out, err, code } = await run('check', file);
    expect([out, code]).toEqual([`${file}: ok, 0 functions, 1 connectors\n`, 0]);
    expect(err).toMatch(/warning: a secret stands in the file/);
  });
  it('config show hides secrets and prints what is in force', async () => {
    const { out, err } = await run(
      'config',
      'show',
      fileOf('gateway: { auth: { basic: { user: a, password: hunter22 } } }\n'),
    );
    expect(out + err).not.toContain('hunter22');
    expect(JSON.parse(out)).toMatchObject({
      gateway: { auth: { basic: { user: 'a', password: '[redacted]' } }, listen: { port: 8080 } },
      queues: { default: { kind: 'sqlite' } },
    });
  });
  it('token create makes another token each time, and its hash', async () => {
    const made = JSON.parse((await run('token', 'create', '--json')).out) as { token: string; hash: string };
    expect(made.hash).toBe(`sha256:${createHash('sha256').update(made.token).digest('hex')}`);
    const { out } = await run('token', 'create');
    expect(out).not.toContain(made.token);
    const [, token = '', hash = ''] = /token +(mr_\w{43})\n +hash +(sha256:[0-9a-f]{64})\n/.exec(out) ?? [];
    expect(hash).toBe(`sha256:${createHash('sha256').update(token).digest('hex')}`);
    const yaml = out
      .slice(out.indexOf('  gateway:'))
      .replaceAll(/^  /gm, '')
      .replace('NAME,', 'ci,')
      .replace('NAMESPACE', 'a');
    expect((await run('check', fileOf(yaml))).code).toBe(0);
  });
  it('plugins lists every kind', async () => {
    const { out } = await run('plugins');
    for (const { kind } of definitions) expect(out).toContain(kind);
    const rows = JSON.parse((await run('plugins', '--json')).out) as { kind: string; capabilities?: object }[];
    expect(rows.map(({ kind }) => kind)).toEqual(definitions.map(({ kind }) => kind));
    expect(rows.find(({ kind }) => kind === 'memory')?.capabilities).toMatchObject({ durable: 'none' });
  });
  it('schema prints the JSON Schema', async () => {
    expect(JSON.parse((await run('schema')).out)).toEqual(jsonSchema(definitions));
  });
  it('generate --check finds nothing to do', async () => {
    expect(await run('generate', '--check')).toEqual({ out: '', err: '', code: 0 });
  });
});
