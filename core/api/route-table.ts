import type { FastifyInstance, RouteOptions } from 'fastify';
import router, { type HTTPMethod } from 'find-my-way';
import { MillraceError } from '../contracts/errors.ts';

/** Routes of one owner, with the Fastify that answers them. */
export interface RouteApp {
  /** Whose they are, for messages. */
  readonly name: string;
  readonly server: FastifyInstance;
  /** As they were added. */
  readonly routes: readonly RouteOptions[];
}

/** Whose route a request is for. It only finds the owner: the owner's own router does the rest. */
export interface RouteTable {
  find(method: string, url: string): RouteApp | undefined;
}

/** Longer parameters are the owner's to refuse. */
const maxParamLength = 2 ** 20;

/** @throws MillraceError `config.invalid` when two owners would answer the same requests. */
export function routeTable(apps: readonly RouteApp[]): RouteTable {
  const table = router({ maxParamLength, querystringParser: () => nothing });
  for (const app of apps) {
    const added = new Set<string>();
    for (const { method, url } of app.routes) {
      for (const one of Array.isArray(method) ? method : [method]) {
        // Routes that differ in their constraints only: its own router tells them apart.
        if (added.has(`${one} ${url}`)) continue;
        added.add(`${one} ${url}`);
        try {
          table.on(one as HTTPMethod, url, never, app);
        } catch (error) {
          const text = `${app.name} cannot answer ${one} ${url}: another connector, or the gateway itself, does`;
          throw new MillraceError('config.invalid', text, { cause: error });
        }
      }
    }
  }
  return { find: (method, url) => table.find(method as HTTPMethod, url)?.store as RouteApp | undefined };
}

const nothing = {};
const never = (): void => undefined;
