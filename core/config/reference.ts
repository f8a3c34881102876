import { z } from 'zod';
import { type PluginDefinition, type PluginType, pluginTypes } from '../contracts/definition.ts';
import { errorCodes } from '../contracts/errors.ts';
import { allLintRules } from './lint.ts';
import { messageSchema, messageSchemaOf } from './messages.ts';
import { packagesNote, pluginPages, sectionOf } from './plugin-pages.ts';
import { runbook } from './runbook.ts';
import { connectorSchema, functionSchema, providerSchema, rootSchema } from './schema.ts';
import { cell, notice, settingsTable } from './settings-table.ts';

type Json = Record<string, unknown>;

/** The keys of plugins that are the host's. */
const hostSchemas: Readonly<Partial<Record<PluginType, z.ZodObject>>> = {
  connector: connectorSchema,
  provider: providerSchema,
};

/** The files that are made from the code, by their path in the repository. */
export function generatedFiles(definitions: readonly PluginDefinition[]): Readonly<Record<string, string>> {
  return {
    'config/schema.json': `${JSON.stringify(jsonSchema(definitions), undefined, 2)}\n`,
    'docs/configuration.md': configurationPage(),
    'docs/errors.md': errorsPage(),
    'docs/lint.md': lintPage(definitions),
    'docs/plugins.md': pluginsPage(definitions),
    ...pluginPages(definitions),
  };
}

/** The JSON Schema (draft 7, as editors know it) of a configuration that uses these plugins. */
export function jsonSchema(definitions: readonly PluginDefinition[]): Json {
  const schema = schemaOf(rootSchema);
  const properties = schema['properties'] as Record<string, Json>;
  for (const type of pluginTypes) {
    const section = properties[sectionOf[type]];
    if (!section) continue;
    const ofType = definitions.filter((definition) => definition.type === type);
    // An empty choice is no valid schema.
    if (ofType.length > 0) section['additionalProperties'] = { oneOf: ofType.map(pluginSchemaOf) };
  }
  const functions = properties['functions'];
  if (functions) functions['additionalProperties'] = functionSchemaOf(definitions);
  properties['triggers'] = { ...properties['connectors'], description: 'Another word for connectors.' };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Millrace configuration',
    ...(withReferences(schema) as Json),
    definitions: { reference },
  };
}

/** `port: ${PORT:8080}` is right wherever a number or a word of a list is expected; editors are to know. */
const reference: Json = {
  type: 'string',
  pattern: '\\$\\{[^{}]+\\}',
  description: '${VAR}, ${VAR:default}, ${VAR:?message} or ${file:/run/secrets/x}.',
};

function withReferences(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(withReferences);
  if (typeof node !== 'object' || node === null) return node;
  const inner = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, withReferences(value)]));
  const { type, description, default: standard, ...bounds } = inner;
  const isWord = type === 'string' && (Array.isArray(bounds['enum']) || 'pattern' in bounds || 'format' in bounds);
  if (!isWord && type !== 'integer' && type !== 'number' && type !== 'boolean') return inner;
  return {
    ...(description !== undefined && { description }),
    ...(standard !== undefined && { default: standard }),
    anyOf: [{ type, ...bounds }, { $ref: '#/definitions/reference' }],
  };
}

function pluginSchemaOf(definition: PluginDefinition): Json {
  const own = schemaOf(definition.config);
  const host = hostSchemas[definition.type];
  const common = host ? (schemaOf(host)['properties'] as Json) : {};
  const traits = definition.type === 'connector' ? definition.messages : undefined;
  const messages = traits ? schemaOf(messageSchemaOf(traits)) : {};
  const required = [own, messages].flatMap((each) => (each['required'] as string[] | undefined) ?? []);
  return {
    type: 'object',
    description: definition.summary,
    properties: {
      ...common,
      ...(messages['properties'] as Json | undefined),
      kind: { const: definition.kind, description: definition.summary },
      ...(own['properties'] as Json),
    },
    required: ['kind', ...required],
    additionalProperties: false,
  };
}

function functionSchemaOf(definitions: readonly PluginDefinition[]): Json {
  const common = schemaOf(functionSchema)['properties'] as Json;
  const providers = definitions.filter((definition) => definition.type === 'provider');
  return {
    anyOf: providers.map(({ kind, functionConfig }) => {
      const own = schemaOf(z.strictObject(functionConfig.shape));
      return {
        type: 'object',
        description: `A function that a provider of kind ${kind} runs.`,
        properties: { ...common, ...(own['properties'] as Json) },
        ...(own['required'] !== undefined && { required: own['required'] }),
        additionalProperties: false,
      };
    }),
  };
}

function schemaOf(schema: z.ZodType): Json {
  const made = z.toJSONSchema(schema, { io: 'input', target: 'draft-07', unrepresentable: 'any' }) as Json;
  const { $schema: _, ...rest } = tidy(made) as Json;
  return rest;
}

/** Without self-references, and without the bounds that only say what a JavaScript integer can hold. */
function tidy(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(tidy);
  if (typeof node !== 'object' || node === null) return node;
  // What refers to itself (any JSON) is left open: its definition would not be found where this is put.
  if ('$ref' in node) return {};
  return Object.fromEntries(
    Object.entries(node)
      .filter(
        ([key, value]) =>
          key !== 'definitions' &&
          !((key === 'maximum' || key === 'minimum') && Math.abs(Number(value)) === Number.MAX_SAFE_INTEGER),
      )
      .map(([key, value]) => [key, tidy(value)]),
  );
}

function configurationPage(): string {
  return `${notice}
# Configuration

One YAML file, \`config/millrace.yaml\` unless the command line says otherwise. Unknown keys are errors. Durations are
written \`250ms\`, \`30s\`, \`1m30s\` or \`PT30S\`; sizes \`256KiB\`, \`1MB\`. \`\${VAR}\`, \`\${VAR:default}\`, \`\${VAR:?message}\`
and \`\${file:/run/secrets/x}\` are put in once, after parsing; \`$\${\` is a literal \`\${\`. A scalar that is one
reference only takes the type of its value (\`port: \${PORT:8080}\` is a number); where a text is wanted it stays a text,
as it was. A variable that is set but empty counts as not set where there is a default or a message. What a
\`\${file:…}\` puts in is hidden in logs and in \`millrace config show\`, as secret settings are.

\`include\` adds the maps of other files to those of this one: \`connections\`, \`queues\`, \`stores\`, \`providers\`,
\`functions\`, \`connectors\` and \`policies.retry\`. The same name in two files is an error. A file has at most 1 MiB, 64 levels and 100
aliases; merge keys and several documents are refused.

## While the gateway runs

SIGHUP has it read the configuration again, and so does a change of the file, of one that it includes or of what a
\`\${file:…}\` puts in (\`gateway.reload\`). A reload is all or nothing. What did not change is not touched: it keeps its
connections and what it has in flight. What is wrong, or does not start, changes nothing, and is logged, counted
(\`millrace_config_reloads_total\`) and told as event \`config.reload-failed\`.

| what | how it is taken up |
|---|---|
| functions | deployed, deployed anew, or taken away; queued work stays, and runs when its function is there again. Only \`invoke\` changed: not deployed anew |
| connectors | the old one ends, drained for at most \`gateway.shutdown.drain\`; then the new one begins. Routes of HTTP change over in one moment, and no call is refused |
| connections | dialled beside the old one; then their connectors move over. Needs a restart where a queue or a store works over it |
| providers | started beside the old one, which ends when its calls have; all their functions are deployed anew |
| queues, stores | may be added; anything else needs a restart |
| \`gateway.auth\`, \`callbacks\`, \`functions\`, \`reload\`, \`shutdown\` | at once; everything else of \`gateway\` and \`observability\` needs a restart |

Code that is loaded stays as it is: modules of \`plugins\` that have changed need a restart. \`millrace plan OLD NEW\` shows
what a reload would do, and what needs a restart, without a gateway.

## All settings

The keys of each kind of connection, connector, queue, store and provider stand on its page: [plugins.md](plugins.md).

${settingsTable(rootSchema)}
## Messages of connectors

What becomes of each message of a connector of NATS, JetStream, Kafka, AMQP, MQTT or Redis. These keys stand beside the
connector's own.

${settingsTable(messageSchema)}`;
}

function pluginsPage(definitions: readonly PluginDefinition[]): string {
  const queues = definitions.filter((definition) => definition.type === 'queue');
  const names = Object.keys(queues[0]?.capabilities ?? {});
  const rows = queues.map(({ kind, capabilities }) => `| \`${kind}\` | ${Object.values(capabilities).join(' | ')} |`);
  const list = definitions.map((definition) => {
    const { type, kind, summary } = definition;
    return `| ${type} | [\`${kind}\`](plugins/${kind}.md) | ${cell(summary + packagesNote(definition))} |`;
  });
  return `${notice}
# Plugins

| type | kind | for |
|---|---|---|
${list.join('\n')}

## What the queues can do

\`native\`: by the storage itself; \`emulated\`: by Millrace on top of it, as sound but dearer; \`none\`: asking for it is an
error of the configuration.

| queue | ${names.join(' | ')} |
|---|${names.map(() => '---').join('|')}|
${rows.join('\n')}
`;
}

function errorsPage(): string {
  const rows = Object.entries(errorCodes).map(
    ([code, { status, retryable, summary }]) =>
      `| \`${code}\` | ${status} | ${retryable ? 'yes' : 'no'} | ${cell(summary)} |`,
  );
  const entries = Object.entries(runbook).map(([code, { cause, remedy }]) => `### ${code}\n\n${cause}\n\n${remedy}\n`);
  return `${notice}
# Errors

Every error of the platform's own is JSON, \`{"error": {"code": …, "message": …}}\`, with header
\`X-OpenFaaS-Internal: millrace\` on function routes, so that it can be told from a function's own answer; \`proxy\` where
the connection to the function failed. Codes are stable.

| code | status | may pass by itself | meaning |
|---|---|---|---|
${rows.join('\n')}

## What to do

${entries.join('\n')}`;
}

function lintPage(definitions: readonly PluginDefinition[]): string {
  const sections = Object.entries(allLintRules(definitions))
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([code, { summary, why }]) => `## ${code}\n\n${summary} ${why}\n`);
  return `${notice}
# What \`millrace check\` warns of

A warning is about settings that are right and yet seldom meant: the gateway starts with them. Each line of it ends with
the code of its rule; codes are stable.

${sections.join('\n')}`;
}
