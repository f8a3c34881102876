import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type ApiRoute, route, type RouteContext } from './route.ts';

const folder = join(import.meta.dirname, '../ui');
const types = {
  'index.html': 'text/html; charset=utf-8',
  'ui.css': 'text/css; charset=utf-8',
  'ui.js': 'text/javascript; charset=utf-8',
} as const;
type File = keyof typeof types;

/** Nothing of anybody else's, no script but its own file, and in nobody's frame. */
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const read = new Map<File, Buffer>();

/** Read when first asked for: most gateways are never looked at. */
function sendFile(name: File, { reply }: RouteContext): unknown {
  const bytes = read.get(name) ?? readFileSync(join(folder, name));
  read.set(name, bytes);
  return reply.header('content-security-policy', policy).type(types[name]).send(bytes);
}

const page = { description: 'A file of the page.', mediaType: 'text/html' };

/** The page for people: what runs here. It asks the management API, with what its reader is allowed there. */
export const uiRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/',
    auth: 'public',
    tag: 'about',
    summary: 'Leads to the page.',
    responses: { 307: { description: 'To `/ui/`.' } },
    handle: (_input, { reply }) => reply.code(307).header('location', '/ui/').send(),
  }),
  route({
    method: 'GET',
    path: '/ui/',
    auth: 'operate',
    tag: 'about',
    summary: 'What runs here, for people.',
    responses: { 200: page },
    handle: (_input, context) => sendFile('index.html', context),
  }),
  route({
    method: 'GET',
    path: '/ui/{file}',
    auth: 'operate',
    tag: 'about',
    summary: 'What the page is made of.',
    params: z.strictObject({ file: z.enum(['index.html', 'ui.css', 'ui.js']) }),
    responses: { 200: page, 400: { description: 'There is no such file.' } },
    handle: ({ params: { file } }, context) => sendFile(file, context),
  }),
];
