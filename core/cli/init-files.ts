import { stringify } from 'yaml';
import { peerVersions } from '../config/packages.ts';
import type { PluginDefinition, PluginType } from '../contracts/definition.ts';
import { version } from '../version.ts';
import type { CliContext } from './context.ts';

export const languages = ['ts', 'js'] as const;
export type Language = (typeof languages)[number];

/** What a new project is to have. */
export interface Choice {
  /** Of the function. */
  readonly name: string;
  /** The kind of the connector that runs it. */
  readonly trigger: string;
  /** The kind of the queue. */
  readonly queue: string;
  readonly language: Language;
}

type Section = Readonly<Record<string, unknown>>;

/** The text of each file, by its path. Settings of plugins are the first of the examples that each definition brings. */
export async function projectFiles(
  choice: Choice,
  project: string,
  context: CliContext,
): Promise<Readonly<Record<string, string>>> {
  const { name, language } = choice;
  const queue = await definitionOf('queue', choice.queue, context);
  const connector = await definitionOf('connector', choice.trigger, context);
  const kinds = new Set([queue, connector].flatMap(({ connection }) => connection ?? []));
  const connections = await Promise.all([...kinds].map((kind) => definitionOf('connection', kind, context)));
  return {
    'millrace.yaml': configurationOf(choice, { queue, connector, connections }, context),
    [`functions/${name}.${language}`]: functionOf(language),
    [`test/${name}.test.${language}`]: testOf(choice),
    'package.json': packageOf(project, [queue, connector, ...connections]),
    '.gitignore': 'node_modules/\ndata/\n',
  };
}

interface Definitions {
  readonly queue: PluginDefinition;
  readonly connector: PluginDefinition;
  readonly connections: readonly PluginDefinition[];
}

function configurationOf(
  { name, language }: Choice,
  { queue, connector, connections }: Definitions,
  { defaults }: CliContext,
): string {
  // Those that are there anyway are not written down.
  const isThere = Object.values(defaults.connectors).some(({ kind }) => kind === connector.kind);
  const called = isThere || !('messages' in connector && connector.messages);
  const parts: readonly (readonly [comment: string, section: Section])[] = [
    ...(connections.length > 0 ? [['Where the brokers are.', { connections: byKind(connections) }] as const] : []),
    ['Where queued work waits until it has been run.', { queues: { default: settingsOf(queue) } }],
    [
      'Each has a file of its own, which is taken up anew when it is saved.',
      {
        functions: { [name]: { module: `./functions/${name}.${language}` } },
      },
    ],
    ...(isThere
      ? []
      : [[connector.summary, { connectors: { trigger: { ...settingsOf(connector), function: name } } }] as const]),
    [
      '`millrace test` runs these: no broker is needed, and no function is run.',
      {
        tests: testsOf(called ? { call: name } : { connector: 'trigger' }),
      },
    ],
  ];
  const sections = parts.map(
    ([comment, section]) => `# ${comment}\n${stringify(section, { lineWidth: 0, aliasDuplicateObjects: false })}`,
  );
  return `# yaml-language-server: $schema=./node_modules/millrace/config/schema.json
# Calls come in at http://127.0.0.1:8080/function/${name}; docs/configuration.md has every key.
apiVersion: millrace/v1

${sections.join('\n')}`;
}

function byKind(definitions: readonly PluginDefinition[]): Section {
  return Object.fromEntries(definitions.map((definition) => [definition.kind, settingsOf(definition)]));
}

/** `kind` first, and the connection by its name. */
function settingsOf({ kind, examples: [example], connection }: PluginDefinition): Section {
  return { kind, ...(connection !== undefined && { connection }), ...(example as Section | undefined) };
}

function testsOf(by: Section): readonly Section[] {
  const input = { body: 'Ada' };
  return [
    { name: 'what comes runs the function once', ...by, input, expect: { invocations: 1, deadLetter: false } },
    {
      name: 'what can never work is kept among the dead letters',
      ...by,
      input,
      function: { responses: [{ status: 422 }] },
      expect: { invocations: 1, deadLetter: { reason: 'permanent' } },
    },
  ];
}

function functionOf(language: Language): string {
  const types =
    language === 'ts'
      ? ['event: { readonly id: string; text(): string }', 'context: { readonly attempt: number }']
      : ['event', 'context'];
  return `/** Greets whoever is named in the body. Queued work may run twice: make the effect idempotent by \`event.id\`. */
export default async (${types.join(', ')}) => {
  const name = event.text().trim() || 'world';
  console.log(\`greeting \${name}, attempt \${context.attempt}\`);
  return { greeting: \`Hello, \${name}!\` };
};
`;
}

function testOf({ name, language }: Choice): string {
  return `import assert from 'node:assert/strict';
import { test } from 'node:test';
import run from '../functions/${name}.${language}';

test('${name} greets whoever is named', async () => {
  const answer = await run({ id: '1', text: () => 'Ada\\n' }, { attempt: 1 });
  assert.deepEqual(answer, { greeting: 'Hello, Ada!' });
});
`;
}

function packageOf(project: string, definitions: readonly PluginDefinition[]): string {
  const packages = definitions.flatMap(({ packages: needed = [] }) => needed);
  const dependencies = { millrace: `^${version}`, ...peerVersions(packages) };
  const text = JSON.stringify(
    {
      name:
        project
          .toLowerCase()
          .replaceAll(/[^a-z0-9-]+/g, '-')
          .replaceAll(/^-+|-+$/g, '') || 'functions',
      private: true,
      type: 'module',
      scripts: {
        start: 'millrace serve --config millrace.yaml',
        dev: 'millrace dev millrace.yaml',
        test: 'millrace check millrace.yaml && millrace test millrace.yaml && node --test',
      },
      dependencies,
    },
    undefined,
    2,
  );
  return `${text}\n`;
}

async function definitionOf(type: PluginType, kind: string, { registry }: CliContext): Promise<PluginDefinition> {
  const definition = await registry.find(type, kind);
  if (!definition) throw new Error(`the ${type} ${kind} is not built in`);
  return definition;
}
