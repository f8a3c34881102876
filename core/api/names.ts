import { MillraceError } from '../contracts/errors.ts';
import { systemNamespace } from '../functions/catalog.ts';
import type { ManagementServices } from './services.ts';
import { didYouMean } from '../config/suggest.ts';

/** `fn` → `fn.namespace`; what has a namespace stays. */
export function qualified(name: string, { namespace }: ManagementServices): string {
  return name.includes('.') ? name : `${name}.${namespace}`;
}

/** The functions that people deployed; Millrace's own are not to be called by anybody. */
export function deployedFunctions(services: ManagementServices): ReturnType<ManagementServices['catalog']['list']> {
  return services.catalog.list().filter(({ name }) => !name.endsWith(`.${systemNamespace}`));
}

/** The lane of a function that exists, for work that is to be sent there. */
export function existingFunction(name: string, services: ManagementServices): string {
  const lane = qualified(name, services);
  const functions = deployedFunctions(services).map((entry) => entry.name);
  if (functions.includes(lane)) return lane;
  throw new MillraceError('function.missing', `no function ${shown(lane)} is deployed${didYouMean(lane, functions)}`);
}

/** A name out of a request, fit for a message: quoted, cut, on one line. */
export function shown(name: string): string {
  return JSON.stringify(name.slice(0, 80));
}
