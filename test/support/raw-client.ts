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
 * Sends the bytes as they are. Resolves when the other side ends the connection, when as many answers as `answers` have
 * come, or when it has been quiet for so long: where it is right to wait for more, nothing else ends it.
 */
export function sendRaw(port: number, bytes: string, answers: number, quietMs = 400): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let text = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'));
    const over = (closed: boolean): void => {
      socket.destroy();
      resolve({ text, statuses: statusesIn(text), closed });
    };
    socket.setNoDelay(true);
    socket.setTimeout(answers === 0 ? quietMs : 20_000, () => over(false));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (answers > 0 && statusesIn(text).length >= answers) over(false);
    });
    socket.on('error', () => undefined); // A reset ends it, too.
    socket.on('close', () => over(true));
  });
}

function statusesIn(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)]
    .map(([, status]) => Number(status))
    .filter((status) => status >= 200);
}
