import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** One request as it stood on the wire. */
export interface StrictRequest {
  readonly target: string;
  readonly head: string;
  /** One character a byte. */
  readonly body: string;
}

export interface StrictServer extends AsyncDisposable {
  readonly port: number;
  /** Whole requests, in the order in which they ended. */
  readonly requests: readonly StrictRequest[];
  /** What came and may be read in more than one way. */
  readonly complaints: readonly string[];
}

const requestLine = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ ([\x21-\x7e]+) HTTP\/1\.1$/;
// oxlint-disable-next-line no-control-regex -- a tab is allowed in a value (RFC 9110 §5.5)
const headerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t\x20-\x7e\x80-\xff]*)$/;

/**
 * A server behind a proxy that reads HTTP/1.1 by its letter (RFC 9112), and answers each request with its own body. What
 * another server might read in another way is a complaint, and ends the connection.
 */
export async function startStrictServer(): Promise<StrictServer> {
  const requests: StrictRequest[] = [];
  const complaints: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    let text = '';
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // A proxy may break off.
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1');
      try {
        for (let taken = take(text); taken; taken = take(text)) {
          text = text.slice(taken.length);
          requests.push(taken.request);
          const { body } = taken.request;
          socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`, 'latin1');
        }
      } catch (error) {
        complaints.push(`${(error as Error).message}: ${JSON.stringify(text.slice(0, 300))}`);
        socket.destroy();
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    complaints,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

interface Taken {
  readonly request: StrictRequest;
  /** Bytes of it. */
  readonly length: number;
}

/** The first request of the text; undefined while it is not whole. Throws for what is not as the letter has it. */
function take(text: string): Taken | undefined {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd === -1) return undefined;
  const head = text.slice(0, headEnd);
  const [first = '', ...lines] = head.split('\r\n');
  const target = requestLine.exec(first)?.[1];
  if (target === undefined) throw new Error('no request line');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = headerLine.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error(`no header: ${JSON.stringify(line)}`);
    const key = name.toLowerCase();
    if (headers.has(key) && /^(?:content-length|transfer-encoding|host)$/.test(key)) throw new Error(`${key} twice`);
    headers.set(key, value);
  }
  if (!headers.has('host')) throw new Error('no host');
  const length = headers.get('content-length');
  const coding = headers.get('transfer-encoding');
  if (length !== undefined && coding !== undefined) throw new Error('framed in two ways');
  if (length !== undefined && !/^\d{1,15}$/.test(length)) throw new Error('a length that is none');
  if (coding !== undefined && coding !== 'chunked') throw new Error('another coding than chunked');
  const start = headEnd + 4;
  const body = coding === undefined ? plain(text, start, Number(length ?? 0)) : chunked(text, start);
  return body && { request: { target, head, body: body.body }, length: body.end };
}

interface Framed {
  readonly body: string;
  readonly end: number;
}

function plain(text: string, start: number, length: number): Framed | undefined {
  const end = start + length;
  return text.length < end ? undefined : { body: text.slice(start, end), end };
}

function chunked(text: string, start: number): Framed | undefined {
  let body = '';
  for (let at = start; ;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd === -1) return undefined;
    const size = text.slice(at, lineEnd);
    if (!/^[0-9a-fA-F]{1,8}$/.test(size)) throw new Error(`no chunk size: ${JSON.stringify(size)}`);
    const from = lineEnd + 2;
    const end = from + Number.parseInt(size, 16);
    if (text.length < end + 2) return undefined;
    if (text.slice(end, end + 2) !== '\r\n') throw new Error('a chunk of another length');
    if (end === from) return { body, end: end + 2 };
    body += text.slice(from, end);
    at = end + 2;
  }
}
