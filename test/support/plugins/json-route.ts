import { readJson } from '../../../core/api/json-body.ts';
import { Reply } from '../../../core/api/reply.ts';
import type { Route } from '../../../core/contracts/route.ts';

/** A public route that takes JSON and answers with JSON. */
export function jsonRoute(path: string, handle: (body: unknown) => Promise<unknown>): Route {
  return {
    methods: ['POST'],
    path,
    auth: 'public',
    handle: async (request, response) => {
      new Reply(response).send(await handle(await readJson(request, 1_048_576)));
    },
  };
}
