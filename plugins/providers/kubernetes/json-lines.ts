import { KubeError } from './kube-error.ts';

/** The JSON documents of a stream that has one on each line. Throws `KubeError` when it breaks off or is not JSON. */
export async function* jsonLines(body: AsyncIterable<Buffer>, signal: AbortSignal): AsyncGenerator {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const chunk of body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') yield JSON.parse(line) as unknown;
    }
  } catch (error) {
    if (error instanceof KubeError) throw error;
    throw KubeError.unreachable(signal.aborted ? signal.reason : error);
  }
}
