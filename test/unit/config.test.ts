import fc from 'fast-check';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { interpolate } from '../../core/config/interpolate.ts';
import { loadConfig } from '../../core/config/load.ts';
import { redacted } from '../../core/config/redact.ts';
import { formatDuration, parseBytes, parseDuration } from '../../core/config/units.ts';
import { seeded } from '../chaos/random.ts';
import { builtIns, inlinePlugin, testDefaults } from '../support/gateway.ts';

/** Loads the YAML as the file `millrace.yaml` of a folder of its own, with other files beside it. */
async function load(yaml: string, environment: Record<string, string> = {}, others: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-config-'));
  for (const [name, text] of Object.entries({ ...others, 'millrace.yaml': yaml }))
    writeFileSync(join(folder, name), text);
  const loaded = await loadConfig(join(folder, 'millrace.yaml'), builtIns(), testDefaults, environment);
  const texts = loaded.problems.map(({ text }) => text.replaceAll(`${folder}/`, '').replace(/\.\.\/\S*\//, ''));
  return { ...loaded, texts };
}

const withPlugin = `plugins: [${inlinePlugin}]\n`;

describe('a configuration', () => {
  it('that says nothing is valid, and has the defaults', async () => {
    const { config, texts } = await load(withPlugin);
    expect(texts).toEqual([]);
    expect(config?.gateway.listen).toEqual({ host: '127.0.0.1', port: 8080 });
    expect([...(config?.queues.keys() ?? [])]).toEqual(['default']);
    expect(config?.standardRetry.attempts).toBe(5);
  });
  it('is cleared of every problem at once, each with its place and a suggestion', async () => {
    const { config, texts } = await load(`${withPlugin}gatway: {}
gateway:
  listen: { prot: 1 }
  shutdown: { drain: 30 }
queues:
  default: { kind: memry }
functions:
  echo:
    behaviour: ehco
    invoke: { retry: standart, queue: defalt, timeot: 3s }
  Bad_Name: { behaviour: echo }
connectors:
  nightly: { kind: http, schedul: "* * * * *" }
`);
    expect(config).toBeUndefined();
    expect(texts).toEqual([
      'millrace.yaml:2:1 gatway: unknown key, did you mean "gateway"?',
      'millrace.yaml:4:13 gateway.listen.prot: unknown key, did you mean "port"?',
      'millrace.yaml:5:15 gateway.shutdown.drain: expected a duration such as "30s", "1m30s" or "PT30S", got number',
      'millrace.yaml:7:14 queues.default.kind: unknown kind "memry", did you mean "memory"? known: amqp, jetstream, kafka, memory, redis, sqlite',
      expect.stringMatching(/^millrace.yaml:10:5 functions.echo.behaviour: expected one of "echo"/),
      'millrace.yaml:11:47 functions.echo.invoke.timeot: unknown key, did you mean "timeout"?',
      expect.stringMatching(/^millrace.yaml:12:3 functions.Bad_Name: expected NAME or NAME.NAMESPACE/),
      'millrace.yaml:14:26 connectors.nightly.schedul: unknown key',
    ]);
  });
  it('finds names that do not resolve', async () => {
    const { texts } = await load(`${withPlugin}
functions:
  echo: { behaviour: echo, invoke: { retry: standart, queue: defalt, onSuccess: [{ function: ehco2 }] } }
  echo2: { behaviour: echo, provider: inlin }
`);
    expect(texts).toEqual([
      'millrace.yaml:4:38 functions.echo.invoke.retry: no retry policy "standart", did you mean "standard"?',
      'millrace.yaml:4:55 functions.echo.invoke.queue: no queue "defalt", did you mean "default"?',
      expect.stringContaining('functions.echo.invoke.onSuccess.0.function: no function "ehco2"'),
      'millrace.yaml:5:29 functions.echo2.provider: no provider "inlin", did you mean "inline"?',
    ]);
  });
  it('finds functions that follow each other in a circle', async () => {
    const { texts } = await load(`${withPlugin}
functions:
  a: { behaviour: echo, invoke: { onSuccess: [{ function: b }] } }
  b: { behaviour: echo, invoke: { onFailure: [{ function: a }] } }
`);
    expect(texts.join('\n')).toMatch(/functions.b.invoke.onFailure.0.function: leads back to a.openfaas-fn/);
  });
  it('finds a function that follows twice', async () => {
    const { texts } = await load(`${withPlugin}
functions:
  a: { behaviour: echo, invoke: { onSuccess: [{ function: b }, { function: b.openfaas-fn }], onFailure: [{ function: b }] } }
  b: { behaviour: echo }
`);
    expect(texts).toEqual([
      expect.stringMatching(/functions.a.invoke.onSuccess.1.function: onSuccess names b.openfaas-fn twice/),
    ]);
  });
  it('may not offer /system to other machines without credentials', async () => {
    const open = 'gateway: { listen: { host: 0.0.0.0 } }\n';
    expect((await load(withPlugin + open)).texts.join()).toMatch(/gateway.auth is none: anyone could use \/system/);
    const closed =
      'gateway: { listen: { host: 0.0.0.0 }, auth: { basic: { user: admin, password: "${PASSWORD}" } } }\n';
    expect((await load(withPlugin + closed, { PASSWORD: 'geheim' })).texts).toEqual([]);
  });
  it('takes connectors under the name triggers as well', async () => {
    const { config } = await load(`${withPlugin}triggers: { web: { kind: http } }\n`);
    expect([...(config?.connectors.keys() ?? [])]).toEqual(['web']);
  });
  it('is put together from several files, each name once', async () => {
    const main = `${withPlugin}include: ["functions-*.yaml"]\nfunctions: { a: { behaviour: echo } }\n`;
    const good = await load(main, {}, { 'functions-1.yaml': 'functions: { b: { behaviour: echo } }\n' });
    expect([...(good.config?.functions.keys() ?? [])]).toEqual(['a.openfaas-fn', 'b.openfaas-fn']);
    const twice = await load(main, {}, { 'functions-1.yaml': 'functions:\n  a: { behaviour: echo }\n' });
    expect(twice.texts).toEqual([
      expect.stringMatching(/functions-1.yaml:2:3 functions.a: is already defined at .*millrace.yaml:3:14/),
    ]);
    const other = await load(main, {}, { 'functions-1.yaml': 'gateway: {}\n' });
    expect(other.texts).toEqual([expect.stringMatching(/functions-1.yaml:1:1 gateway: an included file may hold/)]);
    const wrong = await load(main, {}, { 'functions-1.yaml': 'functions:\n  b: { behavior: echo }\n' });
    expect(wrong.texts.join('\n')).toMatch(
      /functions-1.yaml:2:8 functions.b.behavior: unknown key, did you mean "behaviour"/,
    );
  });
});

describe('labels and annotations of OpenFaaS', () => {
  const queues =
    'queues: { default: { kind: memory, allowVolatile: true }, slow: { kind: memory, allowVolatile: true } }\n';
  const functions = (about: string): string => `${withPlugin}${queues}functions:\n  a: { behaviour: echo, ${about} }\n`;
  const policyOf = async (about: string) => {
    const { config, texts } = await load(functions(about));
    return { policy: config?.functions.get('a.openfaas-fn')?.policy, texts };
  };

  it('do what the same words of the YAML do', async () => {
    const annotations =
      '{ com.openfaas.queue: slow, com.openfaas.retry.attempts: "9", com.openfaas.retry.codes: "429, 503", ' +
      'com.openfaas.retry.min_wait: 2s, com.openfaas.retry.max_wait: 1m }';
    const labels =
      '{ com.openfaas.scale.min: "2", com.openfaas.scale.max: "4", com.openfaas.scale.zero: "true", com.openfaas.scale.zero-duration: 5m, ' +
      'com.openfaas.scale.type: capacity, com.openfaas.scale.target: "10", com.openfaas.scale.target-proportion: "0.5", com.openfaas.scale.down.window: 1m, com.openfaas.scale.factor: "50" }';
    const annotated = await policyOf(`annotations: ${annotations}, labels: ${labels}, env: { max_inflight: "7" }`);
    const written = await policyOf(
      'env: {}, invoke: { queue: slow, concurrency: 100000, perReplica: 7, retry: { attempts: 9, retryOn: [timeout, connection, crash, 429, 503], backoff: { initial: 2s, max: 1m } } }, ' +
        'scale: { min: 2, max: 4, zero: true, zeroDuration: 5m, type: capacity, target: 10, targetProportion: 0.5, downWindow: 1m, factor: 50 }',
    );
    expect(annotated.texts).toEqual([]);
    expect(written.texts).toEqual([
      expect.stringContaining('functions.a.scale: provider "inline" (inline-test) has no replicas to scale'),
    ]);
    const plain = await policyOf(
      'invoke: { queue: slow, concurrency: 100000, perReplica: 7, retry: { attempts: 9, retryOn: [timeout, connection, crash, 429, 503], backoff: { initial: 2s, max: 1m } } }',
    );
    expect({ ...annotated.policy, scale: undefined }).toEqual(plain.policy);
    expect(annotated.policy?.scale).toEqual({
      min: 2,
      max: 4,
      zero: true,
      zeroAfterMs: 300_000,
      type: 'capacity',
      target: 10,
      targetProportion: 0.5,
      downWindowMs: 60_000,
      factor: 50,
    });
  });
  it('give way to the words of the YAML', async () => {
    const { policy } = await policyOf(
      'annotations: { com.openfaas.queue: slow, com.openfaas.retry.attempts: "9" }, env: { max_inflight: "7" }, invoke: { queue: default, concurrency: 3, retry: once }',
    );
    expect(policy).toMatchObject({ queue: 'default', concurrency: 3, perReplica: 7, retry: { attempts: 1 } });
  });
  it('change nothing where there are none, and max_inflight 0 is no limit', async () => {
    const { policy } = await policyOf('env: { max_inflight: "0" }, labels: { team: a }');
    expect(policy?.scale).toBeUndefined();
    expect([policy?.concurrency, policy?.perReplica]).toEqual([32, undefined]);
  });
  it('are told where they stand when they mean nothing', async () => {
    const { texts } = await policyOf(
      'annotations: { com.openfaas.retry.codes: "all", com.openfaas.retry.min_wait: soon, com.openfaas.queue: slwo }, labels: { com.openfaas.scale.min: few }',
    );
    expect(texts.map((text) => text.replace(/^millrace.yaml:\d+:\d+ /, ''))).toEqual([
      'functions.a.annotations.com.openfaas.retry.codes: expected statuses such as "429,502,503"',
      expect.stringContaining('functions.a.annotations.com.openfaas.retry.min_wait: expected a duration'),
      expect.stringContaining('functions.a.labels.com.openfaas.scale.min: expected a whole number from 0'),
    ]);
    const unknown = await policyOf('annotations: { com.openfaas.queue: slwo }');
    expect(unknown.texts.join()).toContain('no queue "slwo", did you mean "slow"?');
    const upsideDown = await policyOf('labels: { com.openfaas.scale.min: "5", com.openfaas.scale.max: "2" }');
    expect(upsideDown.texts.join()).toContain('functions.a.scale.min: more than `max`');
  });
  it('may not be in the namespace of Millrace', async () => {
    const { texts } = await load(`${withPlugin}functions: { a.millrace: { behaviour: echo } }\n`);
    expect(texts.join()).toContain(`the namespace "millrace" is Millrace's own`);
  });
});

describe('interpolation', () => {
  it('puts in variables, defaults, files and literals, and keeps types', async () => {
    const { config, texts } = await load(
      `${withPlugin}
gateway:
  listen:
    port: \${PORT:8123}
  limits: { inFlight: "\${N}" }
`,
      { N: '7' },
    );
    expect(texts).toEqual([]);
    expect([config?.gateway.listen.port, config?.gateway.limits.inFlight]).toEqual([8123, 7]);
  });
  it('leaves digits a text where a text is wanted', async () => {
    const yaml = `${withPlugin}gateway: { auth: { basic: { user: "\${USER_NAME}", password: "\${PASSWORD}" } } }\n`;
    const { config } = await load(yaml, { USER_NAME: '007', PASSWORD: '12345' });
    expect(config?.gateway.auth).toEqual({ basic: { user: '007', password: '12345' } });
  });
  it('tells what is missing, at its place', async () => {
    const yaml = `${withPlugin}gateway:\n  namespace: \${MISSING}\n  auth: { basic: { user: a, password: "\${PW:?set PW}" } }\n`;
    expect((await load(yaml)).texts).toEqual([
      'millrace.yaml:3:14 gateway.namespace: environment variable MISSING is not set; set it, or write ${MISSING:default}',
      'millrace.yaml:4:39 gateway.auth.basic.password: set PW',
    ]);
  });
  it('never expands what was put in, and cannot change the structure', () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        const { text } = interpolate('a ${X} b', { X: value, SECRET: 'no' }, '/');
        expect(text).toBe(value === '' ? 'a  b' : `a ${value} b`);
      }),
    );
    expect(interpolate('${X}', { X: '${SECRET}', SECRET: 'no' }, '/').text).toBe('${SECRET}');
    expect(interpolate('$${X}', { X: 'no' }, '/').text).toBe('${X}');
  });
});

describe('secrets', () => {
  it('are known by their value, and nowhere to be seen', async () => {
    const yaml = `${withPlugin}gateway: { auth: { basic: { user: admin, password: "\${PASSWORD}" } }, callbacks: { secret: "\${KEY}" } }\n`;
    const { config } = await load(yaml, { PASSWORD: 'canary-1', KEY: 'canary-2' });
    expect(config?.secrets.toSorted()).toEqual(['canary-1', 'canary-2']);
    expect(JSON.stringify(redacted(config?.gateway, config?.secrets ?? []))).not.toContain('canary');
  });
});

describe('hostile YAML', () => {
  it.each([
    [
      'a bomb of aliases',
      `a: &a [x]\n${Array.from({ length: 120 }, (_, index) => `k${index}: *a`).join('\n')}`,
      /aliases/,
    ],
    ['a deep nest', `a: ${'['.repeat(200)}${']'.repeat(200)}`, /deeper|unknown key|YAML/],
    ['__proto__', '__proto__: { polluted: true }', /not allowed/],
    ['constructor', 'functions: { constructor: {} }', /not allowed/],
    ['a merge key', 'a: &a {b: 1}\nc: { <<: *a }', /merge keys|unknown key/],
    ['two documents', 'a: 1\n---\nb: 2', /:2:\d+ YAML: a second document begins here/],
    ['a list at the top', '- a', /expected a map/],
    ['the same key twice', 'gateway: {}\ngateway: {}', /2:1 gateway: is already defined at .*:1:1/],
    ['bytes that are no text', '\u0000\u0001\ufffe', /./],
    ['an unfinished quote', 'gateway: "', /YAML/],
  ])('%s is told, not obeyed', async (_name, yaml, expected) => {
    const { config, texts } = await load(yaml);
    expect(config).toBeUndefined();
    expect(texts.join('\n')).toMatch(expected);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
  it(
    'in 300 mutations gives a configuration or problems with their lines, never an exception',
    { timeout: 120_000 },
    async () => {
      const random = seeded(20_261_124);
      const pick = (length: number): number => Math.floor(random() * length);
      const base = `${withPlugin}
gateway:
  listen: { host: 127.0.0.1, port: 8080 }
  shutdown: { drain: 30s }
policies: { retry: { quick: { attempts: 3, backoff: { kind: fixed, initial: 1s } } } }
queues: { default: { kind: memory, allowVolatile: true, limits: { messages: 10, bytes: 1MiB } } }
functions:
  echo: { behaviour: echo, invoke: { timeout: 3s, retry: quick, onSuccess: [{ function: other }] } }
  other: { behaviour: fail, env: { A: b } }
connectors: { web: { kind: http, credit: 10 } }
`;
      const mutations = [
        (text: string) => text.slice(0, pick(text.length)),
        (text: string) => text.slice(pick(text.length)),
        (text: string) => {
          const at = pick(text.length);
          return text.slice(0, at) + String.fromCharCode(pick(0x2fff)) + text.slice(at + 1);
        },
        (text: string) => {
          const lines = text.split('\n');
          lines.splice(pick(lines.length), 1 + pick(2));
          return lines.join('\n');
        },
        (text: string) => {
          const lines = text.split('\n');
          const at = pick(lines.length);
          lines[at] = `${' '.repeat(pick(5))}${lines[at]}`;
          return lines.join('\n');
        },
        (text: string) => {
          const words = [...text.matchAll(/[a-zA-Z0-9]+/g)];
          const word = words[pick(words.length)];
          const replacements = [
            'null',
            '[]',
            '{}',
            '-1',
            'true',
            '"x"',
            'xyz',
            '99999999999999999999',
            '~',
            '*a',
            '&a',
            '!!js/function',
          ];
          return word
            ? text.slice(0, word.index) +
                replacements[pick(replacements.length)] +
                text.slice(word.index + word[0].length)
            : text;
        },
      ];
      let refused = 0;
      for (let round = 0; round < 300; round++) {
        let text = base;
        for (let times = 1 + pick(3); times > 0; times--) text = mutations[pick(mutations.length)]?.(text) ?? text;
        const { config, problems } = await load(text);
        if (config) continue;
        refused++;
        expect(problems.length).toBeGreaterThan(0);
        for (const { file, line, column } of problems) {
          expect(file).toMatch(/millrace.yaml$/);
          expect(Math.min(line, column)).toBeGreaterThanOrEqual(1);
        }
      }
      expect(refused).toBeGreaterThan(150);
    },
  );
});

describe('units', () => {
  it('durations are read back as they were written', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 364 * 86_400_000 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });
  it.each(['', '5', '5 s', '-1s', '1y', 'PT', 'P', '1s1', '1e9s', '99999d', 'Infinity'])(
    '%j is no duration',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );
  it.each([
    ['1m30s', 90_000],
    ['PT30S', 30_000],
    ['P1DT1H', 90_000_000],
    ['1.5s', 1500],
    ['250ms', 250],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });
  it('sizes have their unit', () => {
    expect([parseBytes('1KiB'), parseBytes('1.5MB'), parseBytes('3'), parseBytes('3B')]).toEqual([
      1024,
      1_500_000,
      undefined,
      3,
    ]);
  });
  it('no text makes the parsers throw', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseDuration(text);
        parseBytes(text);
      }),
      { numRuns: 10_000 },
    );
  });
});
