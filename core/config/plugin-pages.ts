import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { type PluginDefinition, type PluginType, pluginTypes } from '../contracts/definition.ts';
import type { MessageTraits } from '../contracts/message.ts';
import type { QueueCapabilities } from '../contracts/queue.ts';
import { installing } from './packages.ts';
import { notice, settingsTable } from './settings-table.ts';

/** Where the YAML names them. */
export const sectionOf: Readonly<Record<PluginType, string>> = {
  connection: 'connections',
  connector: 'connectors',
  queue: 'queues',
  store: 'stores',
  provider: 'providers',
};

type Json = Readonly<Record<string, unknown>>;

/** One page a kind, with all that is called so: `redis` is a connection, a connector, a queue and a store. */
export function pluginPages(definitions: readonly PluginDefinition[]): Readonly<Record<string, string>> {
  const kinds = [...new Set(definitions.map(({ kind }) => kind))];
  return Object.fromEntries(kinds.map((kind) => [`docs/plugins/${kind}.md`, pluginPage(kind, definitions)]));
}

function pluginPage(kind: string, definitions: readonly PluginDefinition[]): string {
  const parts = pluginTypes.flatMap((type) => {
    const definition = definitions.find((one) => one.type === type && one.kind === kind);
    return definition ? [sectionFor(definition, definitions)] : [];
  });
  const example = `config/examples/${kind}.yaml`;
  const whole = existsSync(join(import.meta.dirname, '../..', example))
    ? `\nA whole configuration, with what to try on it: [${example}](../../${example}).\n`
    : '';
  return `${notice}
# ${kind}
${whole}
${parts.join('\n')}`;
}

function sectionFor(definition: PluginDefinition, definitions: readonly PluginDefinition[]): string {
  const { type, kind, summary, config } = definition;
  return `## ${type[0]?.toUpperCase()}${type.slice(1)} \`${kind}\`

${summary}${packagesNote(definition)}

\`\`\`yaml
${stringify(exampleOf(definition, definitions))}\`\`\`

${settingsTable(config)}${notesOn(definition)}`;
}

/** What only its type of plugin has. */
function notesOn(definition: PluginDefinition): string {
  if (definition.type === 'connector' && definition.messages) return `\n${messageNote(definition.messages)}\n`;
  if (definition.type === 'queue') return `\n${capabilityNote(definition.capabilities)}\n`;
  if (definition.type === 'provider') {
    return `\nKeys of a function of this provider, beside [those of every function](../configuration.md):\n\n${settingsTable(definition.functionConfig)}`;
  }
  return '';
}

/** A configuration of its last example, with what that needs beside it. */
function exampleOf(definition: PluginDefinition, definitions: readonly PluginDefinition[]): Json {
  const { type, kind, examples, connection } = definition;
  const over = definitions.find((one) => one.type === 'connection' && one.kind === connection);
  const own = examples.at(-1) as Json;
  const runs = definition.type === 'connector' && definition.messages ? { function: 'hello' } : {};
  const plugin: Json = { kind, ...own, ...runs };
  const dialled = typeof own['connection'] === 'string' ? own['connection'] : 'main';
  return {
    ...(over && { connections: { [dialled]: { kind: over.kind, ...(over.examples[0] as Json) } } }),
    [sectionOf[type]]: { [type === 'connector' || type === 'connection' ? 'main' : 'default']: plugin },
    ...functionsOf(functionsNamedIn(plugin)),
  };
}

function functionsOf(names: readonly string[]): Json {
  if (names.length === 0) return {};
  return { functions: Object.fromEntries(names.map((name) => [name, { module: './functions/hello.ts' }])) };
}

function functionsNamedIn(settings: unknown): string[] {
  if (typeof settings !== 'object' || settings === null) return [];
  return Object.entries(settings).flatMap(([key, value]) =>
    key === 'function' && typeof value === 'string' ? [value] : functionsNamedIn(value),
  );
}

function messageNote({ acks }: MessageTraits): string {
  const modes = acks.map((ack, index) => (index === 0 ? `\`${ack}\` (default)` : `\`${ack}\``));
  return `Beside these, the [keys of every connector of messages](../configuration.md#messages-of-connectors); \`ack\`: ${modes.join(', ')}.`;
}

function capabilityNote(capabilities: QueueCapabilities): string {
  const names = Object.keys(capabilities);
  return `What it can do ([what the words mean](../plugins.md#what-the-queues-can-do)):

| ${names.join(' | ')} |
|${names.map(() => '---').join('|')}|
| ${Object.values(capabilities).join(' | ')} |`;
}

/** What has to be installed beside Millrace. */
export function packagesNote({ packages = [] }: PluginDefinition): string {
  if (packages.length === 0) return '';
  return ` Needs what Millrace does not bring: \`${installing(packages)}\` (the image has it).`;
}
