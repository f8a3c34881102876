import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { messageOf } from '../contracts/errors.ts';
import { CliError } from './command.ts';
import { exitCodes } from './exit-codes.ts';

/** What YAML may hold where OpenFaaS wants a text: faas-cli takes numbers and booleans as they are spelled. */
const text = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const textMap = z.record(z.string(), text).nullish();
const resources = z.object({ memory: text.optional(), cpu: text.optional() }).nullish();

/** A function of a stack file. What concerns building an image only is let be. Source: docs.openfaas.com/reference/yaml */
const stackFunction = z.looseObject({
  image: z.string(),
  namespace: z.string().nullish(),
  fprocess: z.string().nullish(),
  environment: textMap,
  environment_file: z.array(z.string()).nullish(),
  secrets: z.array(z.string()).nullish(),
  labels: textMap,
  annotations: textMap,
  constraints: z.array(z.string()).nullish(),
  limits: resources,
  requests: resources,
  readonly_root_filesystem: z.boolean().nullish(),
});

const stackFile = z.looseObject({
  provider: z.looseObject({ name: z.string(), gateway: z.string().optional() }),
  functions: z.record(z.string(), stackFunction),
});
const environmentFile = z.looseObject({ environment: textMap });

/** What `POST /system/functions` takes. */
export interface AskedDeployment extends Readonly<Record<string, unknown>> {
  readonly service: string;
  readonly namespace: string;
}

/**
 * The deployments that a stack file of OpenFaaS asks for, as faas-cli makes them of it.
 *
 * @throws CliError that names the file, the place and what was expected.
 */
export async function readStack(file: string, variables: NodeJS.ProcessEnv): Promise<readonly AskedDeployment[]> {
  const stack = await read(file, stackFile, variables);
  if (!/^(openfaas|faas)$/.test(stack.provider.name)) {
    throw new CliError(exitCodes.usage, `${file}: provider.name: expected "openfaas", got "${stack.provider.name}"`);
  }
  const folder = dirname(resolve(file));
  return Promise.all(
    Object.entries(stack.functions).map(async ([service, asked]) => {
      const files = await Promise.all(
        (asked.environment_file ?? []).map((name) => read(resolve(folder, name), environmentFile, variables)),
      );
      // Later files win over earlier ones, and the function's own over all of them.
      const environment = Object.assign({}, ...files.map((one) => one.environment), asked.environment);
      const { image, namespace, fprocess, secrets, labels, annotations, constraints, limits, requests } = asked;
      return {
        service,
        image,
        namespace: namespace ?? '',
        envProcess: fprocess ?? '',
        envVars: environment as Readonly<Record<string, string>>,
        secrets: secrets ?? [],
        labels: labels ?? {},
        annotations: annotations ?? {},
        constraints: constraints ?? [],
        limits: limits ?? null,
        requests: requests ?? null,
        readOnlyRootFilesystem: asked.readonly_root_filesystem ?? false,
      };
    }),
  );
}

async function read<Schema extends z.ZodType>(
  file: string,
  schema: Schema,
  variables: NodeJS.ProcessEnv,
): Promise<z.output<Schema>> {
  let value: unknown;
  try {
    // It would print its warnings itself, as those of a program.
    value = parse(substituted(await readFile(file, 'utf8'), variables), { logLevel: 'error' });
  } catch (error) {
    throw new CliError(exitCodes.usage, `${file}: ${messageOf(error)}`);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new CliError(exitCodes.usage, `${file}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`);
}

/** `${NAME}` and `${NAME:-default}`, as faas-cli has them: in the text, before it is YAML. */
function substituted(yaml: string, variables: NodeJS.ProcessEnv): string {
  return yaml.replaceAll(
    /\$\{(\w+)(?::?-([^}]*))?\}/g,
    (_whole, name: string, standard = '') => variables[name] || String(standard),
  );
}
