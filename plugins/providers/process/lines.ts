import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

/** A longer line is told in parts, as of-watchdog's log buffer would. */
const maxLine = 64 * 1024;

/** Tells each line of a process's output, without its end; the last one even if it has none. */
export function eachLine(stream: Readable, tell: (line: string) => void): void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  const take = (text: string): void => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) tell(line.endsWith('\r') ? line.slice(0, -1) : line);
    for (; rest.length > maxLine; rest = rest.slice(maxLine)) tell(rest.slice(0, maxLine));
  };
  stream.on('data', (bytes: Buffer) => take(decoder.write(bytes)));
  stream.on('close', () => {
    take(decoder.end());
    if (rest !== '') tell(rest);
  });
  stream.on('error', () => undefined); // A pipe of a process that has been killed: what came of it is told elsewhere.
}
