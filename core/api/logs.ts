import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import type { FunctionLine } from '../functions/logs.ts';
import { partsOf } from '../kit/names.ts';
import { isoTime } from '../kit/time.ts';
import { streamed } from './event-stream.ts';
import { deployedFunction } from './names.ts';
import { type ApiRoute, route } from './route.ts';
import { flagText, functionName, namespaceText, refusals } from './schemas.ts';

const time = z
  .string()
  .max(40)
  .refine((text) => !Number.isNaN(Date.parse(text)), 'expected a time such as "2026-11-28T15:00:00Z"')
  .transform((text) => Date.parse(text));

const query = z.strictObject({
  name: functionName,
  namespace: namespaceText,
  instance: z.string().max(200).optional(),
  callId: z.string().max(256).optional().meta({ description: 'Lines of one call only.' }),
  tail: z
    .string()
    .regex(/^-?\d{1,9}$/, 'expected a whole number')
    .transform(Number)
    .optional()
    .meta({ description: 'So many of the last lines; 0 and less, or none: all that are kept.' }),
  since: time.optional().meta({ description: 'Lines written since then (RFC 3339).' }),
  follow: flagText.optional().meta({ description: 'Goes on with what is written from now on.' }),
});

const heartbeatMs = 15_000;

export const logRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/logs',
    auth: 'operate',
    tag: 'functions',
    summary: 'What a function wrote: one JSON object a line.',
    description:
      'The last 2,000 lines, or 512 KiB, of each function are kept. A client that reads too slowly loses lines, and is told.',
    query,
    responses: {
      200: {
        description: '`{"name", "namespace", "instance", "timestamp", "text"}`.',
        mediaType: 'application/x-ndjson',
      },
      ...refusals('request.invalid', 'function.missing'),
    },
    handle: ({ query: asked }, context) => {
      const { logs } = context.services;
      const { name } = deployedFunction(asked.name, asked.namespace, context.services);
      const filter = { instance: asked.instance || undefined, callId: asked.callId || undefined, since: asked.since };
      const tail = asked.tail !== undefined && asked.tail > 0 ? asked.tail : undefined;
      return streamed(context, 'application/x-ndjson', (response) => {
        response.write(logs.lines(name, filter, tail).map(textOf).join(''));
        if (!asked.follow) return undefined;
        return followed(response, name, (listener) => logs.follow(name, filter, listener));
      });
    },
  }),
];

/** Writes what comes; returns what ends it. Nothing waits for a client that reads slowly. */
function followed(
  response: ServerResponse,
  name: string,
  follow: (listener: (line: FunctionLine) => void) => () => void,
): () => void {
  let dropped = 0;
  let full = false;
  const write = (text: string): void => {
    if (!response.write(text)) full = true;
  };
  response.on('drain', () => {
    full = false;
    if (dropped === 0) return;
    const text = `${dropped} lines were left out here: they were not read in time`;
    dropped = 0;
    write(textOf({ function: name, instance: 'millrace', at: Date.now(), text }));
  });
  const unfollow = follow((line) => {
    if (full) dropped++;
    else write(textOf(line));
  });
  // Readers of NDJSON pass over empty lines; proxies take silence for death.
  const timer = setInterval(() => full || write('\n'), heartbeatMs);
  return () => {
    clearInterval(timer);
    unfollow();
  };
}

function textOf({ function: fullName, instance, at, text, callId }: FunctionLine): string {
  const timestamp = isoTime(at);
  return `${JSON.stringify({ ...partsOf(fullName), instance, timestamp, text, ...(callId !== undefined && { callId }) })}\n`;
}
