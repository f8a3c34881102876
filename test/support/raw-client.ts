import { connect } from 'node:net';

export interface RawAnswer {
  /** All that came back, one character a byte. */
  readonly text: string;
  /** Of the answers in it, without those below 200. */
  readonly statuses: readonly number[];
  /** The other side has ended the connection. */
  readonly closed: boolean;
}

/**
 * Sends the bytes as they are. Resolves when the other side has ended the connection, or has been quiet for so long with
 * as many answers as `answers`: 0 where it may be right to wait for more bytes for ever.
 */
export function sendRaw(port: number, bytes: string, answers: number, quietMs = 150): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'));
    const over = (closed: boolean): void => {
      socket.destroy();
      resolve({ text, statuses: statusesIn(text), closed });
    };
    const wait = (): void => void socket.setTimeout(statusesIn(text).length >= answers ? quietMs : 20_000);
    socket.setNoDelay(true);
    socket.on('timeout', () => over(false));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      wait();
    });
    socket.on('error', () => undefined); // A reset ends it, too.
    socket.on('close', () => over(true));
    wait();
  });
}

function statusesIn(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)]
    .map(([, status]) => Number(status))
    .filter((status) => status >= 200);
}
