import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../core/config/load.ts';
import { allLintRules, lintRules } from '../../core/config/lint.ts';
import { builtIns, inlinePlugin, testDefaults } from '../support/gateway.ts';

const base = `
plugins: ["${inlinePlugin}"]
providers: { inline: { kind: inline-test } }
queues: { default: { kind: sqlite, path: q.db } }
connections: { main: { kind: nats } }
`;

async function codesOf(yaml: string): Promise<string[]> {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-lint-')), 'millrace.yaml');
  writeFileSync(file, base + yaml);
  const { problems } = await loadConfig(file, builtIns(), testDefaults);
  expect(problems.filter(({ severity }) => severity === 'error')).toEqual([]);
  return problems.map(({ code, path }) => `${code} ${path}`);
}
const functions = 'functions: { a: { behaviour: echo } }\n';
const oldToken = `name: old, hash: "sha256:${'0'.repeat(64)}", scopes: [invoke], namespaces: [a]`;
const audience = 'audience: a, rules: [{ claim: sub, value: a, scopes: [invoke], namespaces: [a] }]';
const jobs = 'kind: jetstream, stream: JOBS, durable: d, function: a';

describe('millrace check warns', () => {
  it('of nothing without a reason', async () => {
    expect(
      await codesOf(`${functions}connectors: { jobs: { ${jobs}, reply: { to: done.a }, subjects: [jobs.*] } }`),
    ).toEqual([]);
  });

  it.each([
    [
      'unused-connection connections.spare',
      `${functions}include: []\nconnections: { main: { kind: nats }, spare: { kind: nats } }`,
    ],
    ['outlasts-drain functions.a.invoke.timeout', 'functions: { a: { behaviour: echo, invoke: { timeout: 10m } } }'],
    [
      'expired-token gateway.auth.tokens.0.expires',
      `gateway: { auth: { tokens: [{ ${oldToken}, expires: "2020-01-01T00:00:00Z" }] } }`,
    ],
    [
      'issuer-without-tls gateway.auth.oidc.0',
      `gateway: { auth: { oidc: [{ issuer: "http://dex.example.org", ${audience} }] } }`,
    ],
    [
      'issuer-without-tls gateway.auth.oidc.0',
      `gateway: { auth: { oidc: [{ issuer: "https://x.org", jwksUri: "http://x.org/keys", ${audience} }] } }`,
    ],
    [
      'same-consumer connectors.two',
      `${functions}connectors: { one: { ${jobs}, subjects: [a] }, two: { ${jobs}, subjects: [b] } }`,
    ],
    [
      'reply-to-itself connectors.jobs.reply.to',
      `${functions}connectors: { jobs: { ${jobs}, subjects: ["jobs.>"], reply: { to: jobs.done } } }`,
    ],
    [
      'volatile-queue connectors.jobs',
      `queues: { default: { kind: memory, allowVolatile: true } }\n${functions}connectors: { jobs: { ${jobs} } }`,
    ],
  ])('%s', async (expected, yaml) => {
    const own = yaml.startsWith('queues:') ? base.replace(/^queues.*\n/m, '') : base;
    const text = yaml.includes('\nconnections:') ? own.replace(/^connections.*\n/m, '') : own;
    const file = join(mkdtempSync(join(tmpdir(), 'millrace-lint-')), 'millrace.yaml');
    writeFileSync(file, `${text}${yaml.replace('include: []\n', '')}`);
    const { problems } = await loadConfig(file, builtIns(), testDefaults);
    expect(problems.filter(({ severity }) => severity === 'error')).toEqual([]);
    expect(problems.map(({ code, path }) => `${code} ${path}`)).toContain(expected);
  });

  it('with a code that has a section of its own', async () => {
    for (const [code, rule] of Object.entries(allLintRules(await builtIns().all()))) {
      expect(code).toMatch(/^[a-z0-9]+(-[a-z0-9]+)+$/);
      expect(rule.summary).toMatch(/\.$/);
      expect(rule.why.length).toBeGreaterThan(40);
    }
    expect(Object.keys(lintRules).length).toBeGreaterThan(5);
  });
});
