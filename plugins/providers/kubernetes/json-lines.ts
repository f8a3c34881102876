import { KubeError } from './kube-error.ts';

/** Characters of one document: etcd keeps 1.5 MiB of an object, and it comes with what JSON adds. */
const maxLength = 16 * 2 ** 20;

/**
 * The JSON documents of a stream that has one on each line. Throws `KubeError` when it breaks off, is not JSON, or has a
 * line that does not end.
 */
export async function* jsonLines(body: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of body) {
      const lines = decoder.decode(chunk, { stream: true }).split('\n');
      lines[0] = rest + lines[0]; // Not looked through again.
      rest = lines.pop() ?? '';
      if (rest.length > maxLength) throw new Error(`a line is longer than ${maxLength} characters`);
      for (const line of lines) if (line !== '') yield JSON.parse(line) as unknown;
    }
  } catch (error) {
    if (error instanceof KubeError) throw error;
    throw KubeError.unreachable(signal.aborted ? signal.reason : error);
  }
}
