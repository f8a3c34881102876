import { Readable } from 'node:stream';
import { Pool } from 'undici';
import { processStatus } from '../../test/support/processes.ts';
import { startGateway } from '../gateway.ts';
import { compare, cpuMs, type Load, startProgram, startSubject, type Subject } from '../measure.ts';
import { compared, type Row } from './row.ts';

const chunk = Buffer.alloc(65_536, 's');
const mib = 2 ** 20;
const bodyBytes = 100 * mib;
const atOnce = 4;
const bodies = 8;

/** Bodies of 100 MiB there and back, four at a time; the CPU is for a GiB. */
async function stream(subject: Subject, path: string): Promise<Load> {
  const pool = new Pool(subject.url, { connections: atOnce, pipelining: 1 });
  const one = async (): Promise<void> => {
    const sent = Readable.from(pieces(), { objectMode: false });
    const answer = await pool.request({ method: 'POST', path, body: sent, headers: { 'content-type': 'text/plain' } });
    let bytes = 0;
    for await (const piece of answer.body as AsyncIterable<Buffer>) bytes += piece.length;
    if (answer.statusCode !== 200 || bytes !== bodyBytes)
      throw new Error(`${answer.statusCode}, ${bytes} bytes came back`);
  };
  const [before, startedAt] = [cpuMs(subject.pid), performance.now()];
  for (let done = 0; done < bodies; done += atOnce) await Promise.all(Array.from({ length: atOnce }, one));
  const ms = performance.now() - startedAt;
  const gib = (bodies * bodyBytes) / 2 ** 30;
  const cpuPerThousand = (cpuMs(subject.pid) - before) / gib;
  await pool.close();
  return { requests: bodies, seconds: ms / 1000, cpuPerThousand, p50Ms: ms / bodies, p99Ms: ms / bodies };
}

function* pieces(): Generator<Buffer> {
  for (let bytes = 0; bytes < bodyBytes; bytes += chunk.length) yield chunk;
}

function peakRssMib({ pid }: Subject): number {
  return processStatus(pid, 'VmHWM') / 1024;
}

export const streaming: Row = {
  name: 'streaming',
  measure: async ({ home, blocks }) => {
    const upstream = await startProgram([process.execPath, 'bench/servers/mirror.ts'], 1);
    const ours = await startGateway(home, 'streaming', {
      functions: `  mirror: { url: "${upstream.url}", invoke: { concurrency: 16 } }`,
      limits: '{ body: 200MiB }',
      more: 'providers: { http: { kind: http } }\n',
    });
    const peer = await startSubject(['bench/servers/pipe.ts', upstream.url]);
    const idleMib = peakRssMib(ours);
    const result = await compare(
      () => stream(ours, '/function/mirror'),
      () => stream(peer, '/'),
      blocks,
    );
    const grownMib = peakRssMib(ours) - idleMib;
    for (const subject of [ours, peer, upstream]) await subject.stop();
    const what = 'bodies of 100 MiB there and back, against a bare pipe (CPU-ms and ms are for a GiB and a body)';
    return [
      compared(what, result, '≤ 1.2 ×', 1.2),
      {
        what: `what ${atOnce} such bodies at once take of memory`,
        figure: `${grownMib.toFixed(0)} MiB more of RSS at the most`,
        bar: '≤ 64 MB',
        met: grownMib * mib <= 64e6,
      },
    ];
  },
};
