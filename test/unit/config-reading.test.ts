import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { interpolate } from '../../core/config/interpolate.ts';
import { loadConfig, requireConfig } from '../../core/config/load.ts';
import { ConfigError } from '../../core/config/problem.ts';
import { redacted, shownConfig } from '../../core/config/redact.ts';
import { parseTree } from '../../core/config/tree.ts';
import { parseBytes, parseDuration } from '../../core/config/units.ts';
import { seeded } from '../chaos/random.ts';
import { builtIns, inlinePlugin, testDefaults } from '../support/gateway.ts';

/** Writes the files, and loads `millrace.yaml` of them. */
async function load(files: Readonly<Record<string, string | Uint8Array>>, environment: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-config-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const loaded = await loadConfig(join(folder, 'millrace.yaml'), builtIns(), testDefaults, environment);
  const texts = loaded.problems.map(({ text }) => text.replaceAll(/\S*\/millrace-config-[^/\s]+\//g, ''));
  return { ...loaded, texts, folder };
}

const plugin = `plugins: [${inlinePlugin}]\n`;

describe('what was put in', () => {
  it.each(['1.50', '+5', '-0', '12345678901234567890', 'true', '0x10', '1e3', ''.padEnd(30, '9')])(
    'stays %j where a text is wanted',
    async (password) => {
      const yaml = `gateway: { auth: { basic: { user: a, password: "\${PASSWORD}" } } }\n`;
      const { config } = await load({ 'millrace.yaml': plugin + yaml }, { PASSWORD: password });
      expect(config?.gateway.auth).toEqual({ basic: { user: 'a', password } });
    },
  );
  it('comes from files without the newline at their end, and is hidden from then on', async () => {
    const yaml = `functions: { a: { behaviour: echo, env: { TOKEN: "Bearer \${file:token}" } } }\n`;
    const { config } = await load({ 'millrace.yaml': plugin + yaml, token: 's3cret-token\n' });
    expect(config?.functions.get('a.openfaas-fn')?.env).toEqual({ TOKEN: 'Bearer s3cret-token' });
    expect(config?.secrets).toEqual(['s3cret-token']);
    expect(JSON.stringify(shownConfig(config!))).toContain('Bearer [redacted]');
    expect(JSON.stringify(shownConfig(config!))).not.toContain('s3cret');
  });
  it('is in no message, wherever it was put by mistake', async () => {
    const yaml = `gateway: { shutdown: { drain: "\${file:token}" } }\n`;
    const { texts } = await load({ 'millrace.yaml': plugin + yaml, token: 's3cret-token' });
    expect(texts.join()).toMatch(/drain: expected a duration .*, got "\[redacted\]"/);
  });
  it.each([
    ['a file that is too large', 'x'.repeat(64 * 1024 + 1), /larger than 65536 bytes/],
    ['a file that is no text', new Uint8Array([0xff, 0xfe, 0x80]), /not UTF-8/],
  ])('is not taken from %s', async (_name, content, expected) => {
    const yaml = `gateway: { namespace: "\${file:content}" }\n`;
    expect((await load({ 'millrace.yaml': plugin + yaml, content })).texts.join()).toMatch(expected);
  });
  it('is never read from an endless file', async () => {
    const yaml = `gateway: { namespace: "\${file:/dev/zero}" }\n`;
    expect((await load({ 'millrace.yaml': plugin + yaml })).texts.join()).toMatch(/larger than 65536 bytes/);
  });
  it('is never what every object inherits', () => {
    expect(() => interpolate('${constructor}', {}, '/')).toThrow(/is not set/);
    expect(() => interpolate('${toString}', process.env, '/')).toThrow(/is not set/);
  });
  it('follows the rules for any mixture of pieces', () => {
    const piece = fc.oneof(
      fc.constant({ text: '${SET}', value: 'VALUE' }),
      fc.constant({ text: '${UNSET:fallback}', value: 'fallback' }),
      fc.constant({ text: '${EMPTY:fallback}', value: 'fallback' }),
      fc.constant({ text: '${UNSET:}', value: '' }),
      fc.constant({ text: '$${SET}', value: '${SET}' }),
      fc
        .string({ unit: fc.constantFrom('a', ' ', '}', '{', ':', '\n', 'é', '"') })
        .map((text) => ({ text, value: text })),
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        const text = pieces.map((one) => one.text).join('');
        const { text: result } = interpolate(text, { SET: 'VALUE', EMPTY: '' }, '/');
        expect(result).toBe(pieces.map((one) => one.value).join(''));
      }),
      { numRuns: 2000 },
    );
  });
  it('gives a text or an error for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('$', '{', '}', ':', '?', 'A', '1', 'file:', '/') }), (text) => {
        try {
          expect(typeof interpolate(text, { A: 'x' }, '/').text).toBe('string');
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expect((error as Error).message).not.toMatch(/undefined|is not a function/);
        }
      }),
      { numRuns: 10_000 },
    );
  });
});

describe('included files', () => {
  it('may hold every named map, under either name of the connectors', async () => {
    const { config, texts } = await load({
      'millrace.yaml': `${plugin}include: [parts/*.yaml]\nfunctions: { a: { behaviour: echo, invoke: { retry: mine, queue: fast } } }\n`,
      'parts/policies.yaml': 'policies: { retry: { mine: { attempts: 7 } } }\n',
      'parts/queues.yaml': 'queues: { fast: { kind: memory, allowVolatile: true } }\n',
      'parts/triggers.yaml': 'triggers: { web: { kind: http, credit: 9 } }\n',
    });
    expect(texts).toEqual([]);
    expect(config?.functions.get('a.openfaas-fn')?.policy.retry.attempts).toBe(7);
    expect(config?.connectors.get('web')?.credit).toBe(9);
  });
  it('may hold connections, which the main file uses', async () => {
    const line = join(import.meta.dirname, '../support/plugins/line.ts');
    const { config, texts } = await load({
      'millrace.yaml': `plugins: ['${line}']\nproviders: {}\ninclude: [parts/*.yaml]\nqueues: { default: { kind: line-queue } }\n`,
      'parts/brokers.yaml': 'connections: { main: { kind: line, port: 4001 } }\n',
    });
    expect(texts).toEqual([]);
    expect(config?.queues.get('default')?.connection).toBe('main');
  });
  it('are read once, and never the main file again', async () => {
    const { texts } = await load({
      'millrace.yaml': `${plugin}include: ["*.yaml", "a.yaml", "./a*.yaml"]\nfunctions: { b: { behaviour: echo } }\n`,
      'a.yaml': 'functions: { a: { behaviour: echo } }\n',
    });
    expect(texts).toEqual([]);
  });
  it('may be named by an absolute path', async () => {
    const other = await load({ 'millrace.yaml': '', 'a.yaml': 'functions: { a: { behaviour: echo } }\n' });
    const { config } = await load({ 'millrace.yaml': `${plugin}include: [${other.folder}/a.yaml]\n` });
    expect([...(config?.functions.keys() ?? [])]).toEqual(['a.openfaas-fn']);
  });
  it('tell their own mistakes with their own places', async () => {
    const { texts } = await load({
      'millrace.yaml': `${plugin}include: [parts/*.yaml, none/*.yaml]\npolicies: { retry: { mine: { attempts: 7 } } }\n`,
      'parts/1.yaml': 'policies:\n  retry:\n    mine: { attempts: 1 }\n  breaker: {}\n',
      'parts/2.yaml': 'functions:\n  a:\n    behaviour: ehco\n',
      'parts/3.yaml': 'functions: [\n',
      'parts/4.yaml': 'functions: []\n',
      'parts/5.yaml': 'triggers: { nightly: { kind: htpp } }\n',
      'parts/6.yaml': 'functions: { z: { behaviour: "${MISSING}" } }\n',
    });
    expect(texts).toEqual([
      expect.stringMatching(
        /^millrace.yaml:2:\d+ include.1: warning: no file matches "none\/\*.yaml" \[empty-include\]$/,
      ),
      expect.stringMatching(/^parts\/1.yaml:3:5 policies.retry.mine: is already defined at millrace.yaml:3:22$/),
      expect.stringMatching(/^parts\/1.yaml:4:3 policies.breaker: an included file may hold /),
      expect.stringMatching(/^parts\/2.yaml:3:5 functions.a.behaviour: expected one of/),
      expect.stringMatching(/^parts\/3.yaml:\d+:\d+ YAML: /),
      expect.stringMatching(/^parts\/4.yaml:1:1 functions: expected a map of names$/),
      expect.stringMatching(/^parts\/5.yaml:1:24 connectors.nightly.kind: unknown kind "htpp", did you mean "http"/),
      expect.stringMatching(/^parts\/6.yaml:1:30 functions.z.behaviour: environment variable MISSING is not set/),
    ]);
  });
});

describe('a configuration that was read', () => {
  it('cannot be changed', async () => {
    const { config } = await load({
      'millrace.yaml': `${plugin}functions: { a: { behaviour: echo, env: { A: b } } }\n`,
    });
    const one = config?.functions.get('a.openfaas-fn');
    expect([config, config?.gateway.limits, config?.secrets].every(Object.isFrozen)).toBe(true);
    expect([one, one?.env, one?.policy.retry.backoff].every(Object.isFrozen)).toBe(true);
  });
  it('is thrown with every problem where it is needed', async () => {
    const { folder } = await load({ 'millrace.yaml': 'a: 1\nb: 2\n' });
    const error: unknown = await requireConfig(join(folder, 'millrace.yaml'), builtIns(), testDefaults).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).problems.length).toBeGreaterThanOrEqual(2);
    expect((error as ConfigError).code).toBe('config.invalid');
  });
  it.each(['nowhere.yaml', '.'])('is told not to be there (%s)', async (name) => {
    const { folder } = await load({ 'millrace.yaml': '' });
    const { config, problems } = await loadConfig(join(folder, name), builtIns(), testDefaults, {});
    expect(config).toBeUndefined();
    expect(problems[0]?.text).toMatch(/:1:1 cannot be read: /);
  });
  it('hides a secret that begins with another one', () => {
    expect(redacted('x abcdef y abc', ['abc', 'abcdef'])).toBe('x [redacted] y [redacted]');
  });
});

describe('the cost of a hostile file is bounded:', () => {
  const million = 2 ** 20 - 100;
  it.each([
    ['brackets that never close', '['.repeat(million), /nested deeper/],
    ['a hundred thousand brackets', `a: ${'['.repeat(1e5)}${']'.repeat(1e5)}`, /nested deeper/],
    ['braces', '{'.repeat(5000) + '}'.repeat(5000), /nested deeper/],
    ['blocks', Array.from({ length: 1300 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'), /nested deeper/],
    [
      'a large list with many aliases',
      `a: &a [${'x,'.repeat(250_000)}x]\n${Array.from({ length: 99 }, (_, index) => `k${index}: *a`).join('\n')}`,
      /more than 200000 values/,
    ],
    [
      'a billion laughs',
      [
        'a: &a [x]',
        ...['b', 'c', 'd', 'e'].map((name, at) => `${name}: &${name} [${`*${'abcd'[at]},`.repeat(9)}]`),
      ].join('\n'),
      /more than 100 aliases/,
    ],
    ['a file without end', 'x'.repeat(2 ** 20 + 1), /larger than 1048576 bytes/],
  ])('%s', async (_name, yaml, expected) => {
    const { config, texts } = await load({ 'millrace.yaml': yaml });
    expect(config).toBeUndefined();
    expect(texts.length).toBeLessThanOrEqual(1001);
    expect(texts.join('\n')).toMatch(expected);
  });
  it('sixty thousand keys take seconds, not minutes, and are not all told', { timeout: 25_000 }, async () => {
    const keys = Array.from({ length: 60_000 }, (_, index) => `key${index}: 1`).join('\n');
    const { texts } = await load({ 'millrace.yaml': keys });
    expect(texts).toHaveLength(1001);
    expect(texts.at(-1)).toMatch(/more problems are not shown/);
  });
  it('a chain of thousands of functions is followed to its end', { timeout: 60_000 }, async () => {
    const length = 8000;
    const lines = Array.from(
      { length },
      (_, at) => `  f${at}: { behaviour: echo, invoke: { onSuccess: [{ function: f${(at + 1) % length} }] } }`,
    );
    const { texts } = await load({ 'millrace.yaml': `${plugin}functions:\n${lines.join('\n')}\n` });
    expect(texts).toEqual([expect.stringMatching(/functions.f7999.invoke.onSuccess.0.function: leads back to f0/)]);
  });
});

describe('YAML', () => {
  it.each([
    ['%YAML 1.1\n---\na: yes\n', /YAML 1.1 is not supported/],
    ['a: 1\n...\n---\nb: 2\n', /YAML: /],
    ['1: a\n"1": b\n', /1: is already defined at/],
    [`${'k'.repeat(300)}: 1\n`, /at most 256 characters/],
    ['~: 1\n', /a key must be a plain text/],
  ])('%j is refused', (text, expected) => {
    const { problems } = parseTree(text, 'x.yaml', {}, '/');
    expect(problems.map(({ message, path }) => `${path}: ${message}`).join('\n')).toMatch(expected);
  });
  it('keeps yes, no, dates and keys as they are written', () => {
    const { value } = parseTree('a: yes\nb: 2026-11-24\n1.10: c\nd: 0o17\n', 'x.yaml', {}, '/');
    expect(value).toEqual({ a: 'yes', b: '2026-11-24', '1.10': 'c', d: 15 });
  });
  it('is told to be no text, when bytes are flipped', async () => {
    const bytes = Buffer.from(`${plugin}functions: { a: { behaviour: echo } }\n`);
    bytes[20] = 0xff;
    expect((await load({ 'millrace.yaml': bytes })).texts).toEqual([
      'millrace.yaml:1:1 cannot be read: it is not UTF-8',
    ]);
  });
});

describe('300 files with mistakes that people make', () => {
  /** As a tree, so that types can be changed and keys misspelt without breaking the YAML. */
  const base = {
    plugins: [inlinePlugin],
    gateway: {
      listen: { host: '127.0.0.1', port: 8080 },
      auth: { basic: { user: '${USER_NAME:admin}', password: '${PASSWORD:x}' } },
      limits: { body: '1MiB', inFlight: 100 },
      callbacks: { allow: ['10.0.0.0/8'], retry: { attempts: 3 } },
    },
    policies: { retry: { quick: { attempts: 3, backoff: { kind: 'fixed', initial: '1s' }, retryOn: [503, '5xx'] } } },
    queues: { default: { kind: 'memory', allowVolatile: true, limits: { messages: 10 } } },
    functions: {
      echo: {
        behaviour: 'echo',
        env: { A: 'b' },
        invoke: { timeout: '3s', retry: 'quick', onSuccess: [{ function: 'other' }] },
      },
      other: { behaviour: 'fail', labels: { a: 'b' } },
    },
    connectors: { tick: { kind: 'cron', schedule: '* * * * *', function: 'echo', credit: 4 }, web: { kind: 'http' } },
  };
  type Container = Record<string, unknown>;
  const isContainer = (node: unknown): node is Container => typeof node === 'object' && node !== null;
  const containers = (node: Container): Container[] => [
    node,
    ...Object.values(node).filter(isContainer).flatMap(containers),
  ];
  const wrong = [
    null,
    true,
    -1,
    1.5,
    1e300,
    '',
    'xyz',
    '${',
    '${NOT_SET}',
    [],
    [[]],
    {},
    { a: 1 },
    '__proto__',
    '0s',
    '9e9',
  ];

  it('give a configuration, or problems with their places', { timeout: 120_000 }, async () => {
    const random = seeded(7);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
    const misspelt = (word: string): string => {
      const at = Math.floor(random() * (word.length + 1));
      return pick([
        word.slice(0, at) + word.slice(at + 1),
        `${word.slice(0, at)}x${word.slice(at)}`,
        word.toUpperCase(),
      ]);
    };
    let refused = 0;
    for (let round = 0; round < 300; round++) {
      const tree = structuredClone(base) as unknown as Container;
      for (let times = 1 + Math.floor(random() * 2); times > 0; times--) {
        const target = pick(containers(tree).filter((one) => Object.keys(one).length > 0));
        const key = pick(Object.keys(target));
        const value = target[key];
        if (random() < 0.4 && !Array.isArray(target)) {
          delete target[key];
          target[misspelt(key)] = value;
        } else if (random() < 0.3) delete target[key];
        else target[key] = pick(wrong);
      }
      const yaml = JSON.stringify(tree, undefined, 1);
      const { config, problems } = await load({ 'millrace.yaml': yaml });
      if (config) continue;
      refused++;
      const lines = yaml.split('\n');
      expect(problems.some(({ severity }) => severity === 'error')).toBe(true);
      for (const { file, line, column, message } of problems) {
        expect(file).toMatch(/millrace.yaml$/);
        expect(line).toBeGreaterThanOrEqual(1);
        expect(column).toBeGreaterThanOrEqual(1);
        expect(line).toBeLessThanOrEqual(lines.length);
        expect(message).not.toMatch(/undefined|schema failed|is not a function/);
      }
    }
    expect(refused).toBeGreaterThan(150);
  });
});

describe('durations and sizes', () => {
  const unit = fc.constantFrom(['ms', 1], ['s', 1000], ['m', 60_000], ['h', 3_600_000], ['d', 86_400_000] as const);
  it('are the sum of their parts', () => {
    const parts = fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), unit), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(parts, (all) => {
        const text = all.map(([amount, [name]]) => `${amount}${name}`).join('');
        expect(parseDuration(text)).toBe(all.reduce((sum, [amount, [, ms]]) => sum + amount * ms, 0));
      }),
    );
  });
  it('of ISO 8601 are the same', () => {
    const amount = fc.integer({ min: 0, max: 50 });
    fc.assert(
      fc.property(amount, amount, amount, amount, (days, hours, minutes, seconds) => {
        const iso = parseDuration(`P${days}DT${hours}H${minutes}M${seconds}S`);
        expect(iso).toBe(parseDuration(`${days}d${hours}h${minutes}m${seconds}s`));
      }),
    );
  });
  it('of bytes are exact, or refused', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 20 }), fc.constantFrom('B', 'KB', 'MiB', 'GB'), (amount, name) => {
        const size = { B: 1, KB: 1000, MiB: 2 ** 20, GB: 1e9 }[name];
        expect(parseBytes(`${amount}${name}`)).toBe(amount * size);
        expect(parseBytes(`-${amount}${name}`)).toBeUndefined();
        expect(parseBytes(`${amount}`)).toBeUndefined();
      }),
    );
  });
});

describe('the files of secretMountPath', () => {
  const yaml = (path: string): string => `${plugin}gateway: { auth: { basic: { secretMountPath: ${path} } } }\n`;
  const secrets = { 'run/basic-auth-user': 'root\n', 'run/basic-auth-password': 'canary\r\n' };

  it('are read from beside the configuration, without the newline at their end, and belong to it', async () => {
    const { config, origin, folder } = await load({ 'millrace.yaml': yaml('run'), ...secrets });
    expect(config?.gateway.auth).toEqual({ basic: { user: 'root', password: 'canary' } });
    expect(JSON.stringify(shownConfig(config as NonNullable<typeof config>))).not.toContain('canary');
    for (const [name, text] of Object.entries(secrets)) expect(origin.files.get(join(folder, name))).toBe(text);
  });

  it.each(Object.keys(secrets))('refuse the start when %s is missing or empty, by its name', async (missing) => {
    for (const text of [undefined, '', '\n']) {
      const present = Object.entries({ ...secrets, [missing]: text }).filter(([, one]) => one !== undefined);
      const { config, texts } = await load({
        'millrace.yaml': yaml('run'),
        ...(Object.fromEntries(present) as typeof secrets),
      });
      expect(config).toBeUndefined();
      expect(texts.join()).toContain('gateway.auth.basic.secretMountPath: file ');
      expect(texts.join()).toContain(missing);
    }
  });
});

describe('tokens', () => {
  it('are kept as their digests, and those that stand there are hidden', async () => {
    const token = 'mr_canary-canary-canary-canary';
    const yaml = `gateway: { auth: { tokens: [{ name: ci, token: "\${file:token}", scopes: [deploy], namespaces: ["*"] }] } }\n`;
    const { config, problems } = await load({ 'millrace.yaml': plugin + yaml, token: `${token}\n` });
    expect(problems).toEqual([]);
    const digest = createHash('sha256').update(token).digest('hex');
    expect(config?.gateway.auth).toMatchObject({ tokens: [{ name: 'ci', digest }] });
    expect(config?.secrets).toContain(token);
    expect(JSON.stringify(config?.gateway)).not.toContain('canary');
  });
});
