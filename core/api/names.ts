import { MillraceError } from '../contracts/errors.ts';
import type { FunctionEntry } from '../contracts/provider.ts';
import { isOwnFunction } from '../contracts/provider.ts';
import { qualified as withNamespace } from '../kit/names.ts';
import type { ManagementServices } from './services.ts';
import { didYouMean } from '../config/suggest.ts';

/** `fn` → `fn.namespace`; what has a namespace stays. */
export function qualified(name: string, { namespace }: ManagementServices): string {
  return withNamespace(name, namespace);
}

/** The namespace that is meant where none is named: clients then send none, or an empty one. */
export function namespaceOr(given: string | undefined, { namespace }: ManagementServices): string {
  return given || namespace;
}

/** @throws MillraceError `function.missing` */
export function deployedFunction(
  name: string,
  namespace: string | undefined,
  services: ManagementServices,
): FunctionEntry {
  const full = namespace ? `${name}.${namespace}` : qualified(name, services);
  const entry = services.catalog.get(full);
  if (entry && !isOwnFunction(entry.name)) return entry;
  const known = deployedFunctions(services).map((candidate) => candidate.name);
  throw new MillraceError('function.missing', `no function ${shown(full)} is deployed${didYouMean(full, known)}`);
}

/** The functions that people deployed; Millrace's own are not to be called by anybody. */
export function deployedFunctions(services: ManagementServices): ReturnType<ManagementServices['catalog']['list']> {
  return services.catalog.list().filter(({ name }) => !isOwnFunction(name));
}

/** The lane of a function that exists, for work that is to be sent there. */
export function existingFunction(name: string, services: ManagementServices): string {
  return deployedFunction(name, undefined, services).name;
}

/** A name out of a request, fit for a message: quoted, cut, on one line. */
export function shown(name: string): string {
  return JSON.stringify(name.slice(0, 80));
}
