/**
 * The function that the conformance suite has deployed, for Millrace's worker provider: it passes on what it gets to the suite, whose address
 * is its variable SINK, and answers what that answers. On another platform it is a dozen lines in any language.
 */
export default {
  async fetch(request: Request, { env }: { readonly env: Readonly<Record<string, string>> }): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const headers = new Headers(request.headers);
    for (const name of ['host', 'connection', 'content-length', 'transfer-encoding']) headers.delete(name);
    const { method } = request;
    const body = method === 'GET' || method === 'HEAD' ? null : await request.arrayBuffer();
    const path = pathname === '/' ? '' : pathname;
    return fetch(`${env['SINK'] ?? ''}${path}${search}`, { method, headers, body, redirect: 'manual' });
  },
};
