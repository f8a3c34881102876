import { setTimeout as wait } from 'node:timers/promises';

/** Server-sent events, one each half second: the web-standard form, and an answer that streams. */
export default {
  fetch(request: Request): Response {
    const lines = async function* () {
      for (let count = 1; count <= 5 && !request.signal.aborted; count++) {
        yield new TextEncoder().encode(`data: ${JSON.stringify({ count })}\n\n`);
        await wait(500, undefined, { signal: request.signal });
      }
    };
    return new Response(ReadableStream.from(lines()), { headers: { 'content-type': 'text/event-stream' } });
  },
};
