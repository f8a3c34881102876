import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { z } from 'zod';
import { MillraceError } from '../contracts/errors.ts';
import { type ApiRoute, route, type RouteContext } from './route.ts';

const folder = join(import.meta.dirname, '../ui');
const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** No script but its own files, nothing of anybody else's, no HTML made of text, and in nobody's frame. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

interface File {
  readonly type: string;
  readonly bytes: Buffer;
  readonly packed: Buffer;
}

let read: ReadonlyMap<string, File> | undefined;

/** Read when first asked for: most gateways are never looked at. */
function files(): ReadonlyMap<string, File> {
  if (read) return read;
  const { gzipSync } = process.getBuiltinModule('node:zlib'); // Not at each start: it is 20 modules of Node's.
  read = new Map(
    readdirSync(folder).flatMap((name) => {
      const type = types[extname(name)];
      if (type === undefined) return [];
      const bytes = readFileSync(join(folder, name));
      return [[name, { type, bytes, packed: gzipSync(bytes) }]];
    }),
  );
  return read;
}

function sendFile(name: string, { request, reply }: RouteContext): unknown {
  const file = files().get(name);
  if (!file) throw new MillraceError('route.unknown', `the console has no file ${name}`);
  const isPacked = /\bgzip\b/.test(String(request.headers['accept-encoding']));
  if (isPacked) reply.header('content-encoding', 'gzip');
  return reply
    .header('content-security-policy', policy)
    .header('cross-origin-opener-policy', 'same-origin') // A function's page, which has the same origin, cannot reach into it.
    .header('x-content-type-options', 'nosniff')
    .header('referrer-policy', 'no-referrer')
    .header('cache-control', 'no-cache')
    .header('vary', 'accept-encoding')
    .type(file.type)
    .send(isPacked ? file.packed : file.bytes);
}

const page = { description: 'A file of the console.', mediaType: 'text/html' };

/**
 * The console for people. Its files are the same for everybody and tell nothing; what it shows it asks of the API, with
 * the credentials of whoever looks at it.
 */
export const consoleRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/',
    auth: 'public',
    tag: 'about',
    summary: 'Leads to the console.',
    responses: { 307: { description: 'To `/ui/`.' } },
    handle: (_input, { reply }) => reply.code(307).header('location', '/ui/').send(),
  }),
  route({
    method: 'GET',
    path: '/ui/',
    auth: 'public',
    tag: 'about',
    summary: 'The console, for people.',
    responses: { 200: page },
    handle: (_input, context) => sendFile('index.html', context),
  }),
  route({
    method: 'GET',
    path: '/ui/{file}',
    auth: 'public',
    tag: 'about',
    summary: 'What the console is made of.',
    params: z.strictObject({ file: z.string().regex(/^[a-z-]{1,40}\.[a-z]{2,4}$/, 'expected the name of a file') }),
    responses: {
      200: page,
      400: { description: 'No file is called so.' },
      404: { description: 'There is no such file.' },
    },
    handle: ({ params: { file } }, context) => sendFile(file, context),
  }),
];
