import type { ServerResponse } from 'node:http';
import { pipeline, type Readable } from 'node:stream';

/** The answer of a route of the API, until it is sent. */
export class Reply {
  readonly raw: ServerResponse;

  constructor(raw: ServerResponse) {
    this.raw = raw;
  }

  code(status: number): this {
    this.raw.statusCode = status;
    return this;
  }

  header(name: string, value: string | readonly string[]): this {
    this.raw.setHeader(name, value);
    return this;
  }

  type(mediaType: string): this {
    return this.header('content-type', mediaType);
  }

  /** Bytes, text and streams as they are, all else as JSON. Without a type of its own an answer has that of what is sent. */
  send(body?: unknown): this {
    const { raw } = this;
    if (body === undefined) {
      if (raw.statusCode !== 204 && raw.statusCode !== 304) raw.setHeader('content-length', 0);
      raw.end();
    } else if (isReadable(body)) {
      pipeline(body, raw, () => undefined); // What breaks off breaks the connection: its status has gone out.
    } else {
      const { type, bytes } = bytesOf(body);
      if (!raw.hasHeader('content-type')) raw.setHeader('content-type', type);
      raw.setHeader('content-length', bytes.byteLength);
      raw.end(bytes);
    }
    return this;
  }
}

function isReadable(body: unknown): body is Readable {
  return typeof body === 'object' && body !== null && 'pipe' in body;
}

function bytesOf(body: unknown): { readonly type: string; readonly bytes: Uint8Array } {
  if (body instanceof Uint8Array) return { type: 'application/octet-stream', bytes: body };
  if (typeof body === 'string') return { type: 'text/plain; charset=utf-8', bytes: Buffer.from(body) };
  return { type: 'application/json; charset=utf-8', bytes: Buffer.from(JSON.stringify(body)) };
}
