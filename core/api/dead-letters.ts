import { validateHeaderName, validateHeaderValue } from '../kit/http.ts';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { MillraceError } from '../contracts/errors.ts';
import type { DeadLetterFilter } from '../contracts/queue.ts';
import { findDeadLetter, listDeadLetters, unknownLetter } from './dead-letter-pages.ts';
import { viewOfLetter } from './dead-letter-view.ts';
import { existingFunction, qualified } from './names.ts';
import { replayAll, type ReplayProgress } from './replay.ts';
import type { Reply } from './reply.ts';
import { type ApiRoute, route } from './route.ts';
import { deadLetterView, deadReason, functionName, idParams, limitText, refusals } from './schemas.ts';
import type { ManagementServices } from './services.ts';
import { bufferOf } from '../kit/body.ts';

const tag = 'dead letters';
/** A replay may bring a body of its own, as base64. */
const replayBodyLimit = 16_777_216;
/** Lines of a progress are for a bar on a screen. */
const progressEveryMs = 100;

const filterFields = { function: functionName.optional(), reason: deadReason.optional() };

const headerEdits = z
  .record(
    z.string().max(256).refine(isHeaderName, 'expected the name of a header'),
    z.string().max(8192).refine(isHeaderValue, 'expected text without line breaks').nullable(),
  )
  .meta({ description: 'Set before the replay; null removes.' });

const replayBody = z
  .strictObject({
    to: functionName.optional().meta({ description: 'Another function.' }),
    headers: headerEdits.optional(),
    body: z.string().optional().meta({ description: 'Replaces the body, as text.' }),
    bodyBase64: z.base64().optional().meta({ description: 'Replaces the body, as bytes.' }),
  })
  .refine(({ body, bodyBase64 }) => body === undefined || bodyBase64 === undefined, 'give body or bodyBase64, not both')
  .optional();

const bulkBody = z.strictObject({
  ...filterFields,
  all: z.literal(true).optional().meta({ description: 'Needed when there is no other filter.' }),
  limit: z.int().min(1).max(100_000).default(10_000),
  to: functionName.optional(),
});

const bulkView = z.object({
  total: z.int(),
  replayed: z.int(),
  failed: z.array(z.object({ id: z.string(), code: z.string(), message: z.string() })),
  left: z.int().meta({ description: 'Match and were not tried: another run does them.' }),
});

export const deadLetterRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/dead-letters',
    auth: 'operate',
    tag,
    summary: 'Dead letters of all queues, newest first.',
    query: z.strictObject({ ...filterFields, limit: limitText(50, 500), cursor: z.string().max(16_384).optional() }),
    responses: {
      200: {
        description: 'A page; `cursor` asks for the next one and is absent at the end.',
        schema: z.object({ items: z.array(deadLetterView), cursor: z.string().optional() }),
      },
      ...refusals('request.invalid'),
    },
    handle: async ({ query }, { services }) => {
      const page = await listDeadLetters(services.queues, filterOf(query, services), query.limit, query.cursor);
      return { items: page.items.map(viewOfLetter), cursor: page.cursor };
    },
  }),
  route({
    method: 'GET',
    path: '/system/dead-letters/{id}',
    auth: 'operate',
    tag,
    summary: 'One dead letter with the errors of every attempt.',
    params: idParams,
    responses: { 200: { description: 'The letter.', schema: deadLetterView }, ...refusals('dead-letter.unknown') },
    handle: async ({ params }, { services }) => viewOfLetter(await findDeadLetter(services.queues, params.id)),
  }),
  route({
    method: 'GET',
    path: '/system/dead-letters/{id}/body',
    auth: 'operate',
    tag,
    summary: 'The bytes that were accepted.',
    params: idParams,
    responses: {
      200: { description: 'As a download.', mediaType: 'application/octet-stream' },
      ...refusals('dead-letter.unknown'),
    },
    handle: async ({ params }, { services, reply }) => {
      const { letter, queue } = await findDeadLetter(services.queues, params.id);
      const body = await queue.deadLetters.body(letter.id);
      if (!body) throw unknownLetter();
      // A stranger made these bytes; a browser that showed them would run them as this origin's.
      return reply
        .type('application/octet-stream')
        .header('content-disposition', `attachment; filename="${letter.id.replaceAll(/[^\w-]/g, '_')}.bin"`)
        .header('content-security-policy', 'sandbox')
        .send(bufferOf(body));
    },
  }),
  route({
    method: 'POST',
    path: '/system/dead-letters/{id}/replay',
    auth: 'operate',
    tag,
    summary: 'Makes a new invocation of a dead letter and takes the letter out, in one step.',
    params: idParams,
    body: replayBody,
    bodyLimit: replayBodyLimit,
    responses: {
      202: { description: 'Accepted.', schema: z.object({ id: z.string(), location: z.string() }) },
      ...refusals('request.invalid', 'dead-letter.unknown', 'function.missing', 'queue.unavailable'),
    },
    handle: async ({ params, body: edits }, { services, reply }) => {
      const { letter, queue } = await findDeadLetter(services.queues, params.id);
      const id = services.nextId();
      const replayed = await queue.deadLetters.replay(letter.id, {
        id,
        to: edits?.to === undefined ? undefined : existingFunction(edits.to, services),
        headers: lowerCased(edits?.headers),
        body: bytesOf(edits),
      });
      if (!replayed) throw unknownLetter();
      const location = `/invocations/${id}`;
      return reply.code(202).header('location', location).send({ id, location });
    },
  }),
  route({
    method: 'POST',
    path: '/system/dead-letters/replay',
    auth: 'operate',
    tag,
    summary: 'Replays all that match, the oldest first.',
    description:
      'Safe to repeat: each letter leaves with its replay. Ends when the caller goes away. With ' +
      '`Accept: application/x-ndjson` it tells lines of progress; the last has `done: true` and the fields of the JSON answer.',
    body: bulkBody,
    responses: {
      200: { description: 'What was done.', schema: bulkView },
      ...refusals('request.invalid', 'function.missing', 'queue.unavailable'),
    },
    handle: async ({ body }, { services, reply, request, gone }) => {
      if (body.function === undefined && body.reason === undefined && !body.all) throw needsFilter('"all": true');
      const progress = replayAll(services, filterOf(body, services), {
        limit: body.limit,
        to: body.to === undefined ? undefined : existingFunction(body.to, services),
        signal: gone(),
      });
      if (request.headers.accept?.includes('application/x-ndjson') === true) return sendLines(reply, progress);
      let last: ReplayProgress | undefined;
      for await (last of progress);
      return last && bulkViewOf(last);
    },
  }),
  route({
    method: 'DELETE',
    path: '/system/dead-letters',
    auth: 'operate',
    tag,
    summary: 'Deletes all that match, for ever.',
    query: z.strictObject({ ...filterFields, all: z.literal('true').optional() }),
    responses: {
      200: { description: 'How many.', schema: z.object({ purged: z.int() }) },
      ...refusals('request.invalid'),
    },
    handle: async ({ query }, { services }) => {
      if (query.function === undefined && query.reason === undefined && !query.all) throw needsFilter('?all=true');
      let purged = 0;
      for (const queue of services.queues.values()) purged += await queue.deadLetters.purge(filterOf(query, services));
      return { purged };
    },
  }),
  route({
    method: 'DELETE',
    path: '/system/dead-letters/{id}',
    auth: 'operate',
    tag,
    summary: 'Deletes one, for ever.',
    params: idParams,
    responses: {
      200: { description: 'Done.', schema: z.object({ purged: z.int() }) },
      ...refusals('dead-letter.unknown'),
    },
    handle: async ({ params }, { services }) => {
      const { letter, queue } = await findDeadLetter(services.queues, params.id);
      const purged = await queue.deadLetters.purge({ id: letter.id });
      if (purged === 0) throw unknownLetter();
      return { purged };
    },
  }),
];

function filterOf(
  asked: { readonly function?: string | undefined; readonly reason?: DeadLetterFilter['reason'] },
  services: ManagementServices,
): DeadLetterFilter {
  return {
    ...(asked.function !== undefined && { lane: qualified(asked.function, services) }),
    ...(asked.reason !== undefined && { reason: asked.reason }),
  };
}

function needsFilter(all: string): MillraceError {
  return new MillraceError('request.invalid', `name a function or a reason, or say ${all}`);
}

function bytesOf(edits: z.output<typeof replayBody>): Uint8Array | undefined {
  if (edits?.bodyBase64 !== undefined) return Buffer.from(edits.bodyBase64, 'base64');
  return edits?.body === undefined ? undefined : Buffer.from(edits.body);
}

function lowerCased(headers: Record<string, string | null> | undefined): Record<string, string | null> | undefined {
  return headers && Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function bulkViewOf({ total, replayed, failed, left }: ReplayProgress): z.input<typeof bulkView> {
  return { total, replayed, failed: [...failed], left };
}

function sendLines(reply: Reply, progress: AsyncIterable<ReplayProgress>): Reply {
  return reply.type('application/x-ndjson').send(Readable.from(lines(progress), { objectMode: false }));
}

async function* lines(progress: AsyncIterable<ReplayProgress>): AsyncGenerator<string, void> {
  let toldAt = -Infinity;
  for await (const step of progress) {
    const now = performance.now();
    if (!step.done && now - toldAt < progressEveryMs) continue;
    toldAt = now;
    const { total, replayed, failed } = step;
    const line = step.done
      ? { done: true, ...bulkViewOf(step) }
      : { done: false, total, replayed, failures: failed.length };
    yield `${JSON.stringify(line)}\n`;
  }
}

function isHeaderName(name: string): boolean {
  return holds(() => validateHeaderName(name));
}

function isHeaderValue(value: string): boolean {
  return holds(() => validateHeaderValue('x', value));
}

function holds(check: () => void): boolean {
  try {
    check();
    return true;
  } catch {
    return false; // The reason for the refusal is given by the schema.
  }
}
