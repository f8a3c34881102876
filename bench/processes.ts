import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { childrenOf } from '../test/support/processes.ts';
import { startGateway } from './gateway.ts';
import { cpuMs, median, medianInterval, startProgram, type Subject } from './measure.ts';

const connections = 64;
const rounds = 24;
const callsABlock = 3000;
const body = Buffer.alloc(1024, 'e');
const head = `POST /function/echo HTTP/1.1\r\nhost: bench\r\ncontent-type: text/plain\r\ncontent-length: ${body.byteLength}\r\n\r\n`;
const request = Buffer.concat([Buffer.from(head), body]);

/**
 * What a synchronous call costs each process of a gateway, and what two give next to one where each has a core.
 *
 * This machine has a core for the gateway and one for the load, so two processes that are busy at once take turns on one.
 * So each is driven by itself as well, over connections of its own, as many as it has when both are driven. The load is
 * as cheap as can be, so that it is always the gateway that is waited for. Blocks are short and in turn, and compared
 * within their round: what else runs here comes and goes by the second.
 */
export async function processes(home: string): Promise<void> {
  const upstream = await startProgram([process.execPath, 'bench/servers/upstream.ts'], 1);
  const [one, two] = await Promise.all([1, 2].map((count) => gatewayOf(home, upstream.url, count)));
  if (!one || !two) throw new Error('two gateways were to be started');
  const split = await splitOf(two);
  const ofOne = await Promise.all(Array.from({ length: connections }, () => open(one)));
  const { ofOwner, ofFront } = await openEvenly(two);
  const cases = [
    { of: one, sockets: ofOne },
    { of: two, sockets: ofOwner },
    { of: two, sockets: ofFront },
    { of: two, sockets: [...ofOwner, ...ofFront] },
  ];
  const costs: number[][][] = cases.map(() => []);
  for (let round = -3; round < rounds; round++) {
    const order = [...cases.entries()];
    for (const [index, { of, sockets }] of round % 2 === 0 ? order : order.toReversed()) {
      const cost = await costOf(of, sockets);
      if (round >= 0) costs[index]?.push(cost); // The first ones compile.
    }
  }
  tell(split, costs);
  for (const { sockets } of cases) for (const socket of sockets) socket.destroy();
  for (const subject of [one, two, upstream]) await subject.stop();
}

function gatewayOf(home: string, upstream: string, count: number): Promise<Subject> {
  return startGateway(home, `processes-${count}`, {
    processes: count,
    limits: '{ http: { turn: 60s } }',
    queue: '{ kind: memory, allowVolatile: true }',
    functions: `  echo: { url: "${upstream}", invoke: { concurrency: 256, waiting: 500 } }`,
    more: 'providers: { http: { kind: http } }\n',
  });
}

/** CPU of each process of the gateway for a call of the block, µs: the owner's first. */
async function costOf({ pid }: Subject, sockets: readonly Socket[]): Promise<number[]> {
  await call(sockets, callsABlock / 10); // A front that was idle is lent its slots anew.
  const pids = [pid, ...childrenOf(pid).map((child) => child.pid)];
  const before = pids.map(cpuMs);
  await call(sockets, callsABlock);
  return pids.map((each, at) => ((cpuMs(each) - (before[at] ?? 0)) * 1000) / callsABlock);
}

function tell(split: number, [one = [], owner = [], front = [], both = []]: readonly number[][][]): void {
  const middle = (costs: readonly number[][]): string => {
    const each = (costs[0] ?? []).map((_, at) => median(costs.map((cost) => cost[at] ?? Number.NaN)));
    return `${each.map((cost) => cost.toFixed(1)).join(' + ')} µs`;
  };
  const ratios = (of: (one: number, at: number) => number): string => {
    const values = one.map(([cost = Number.NaN], at) => of(cost, at));
    const [least, most] = medianInterval(values);
    return `${median(values).toFixed(2)} × (${least.toFixed(2)} to ${most.toFixed(2)})`;
  };
  const alone = ratios((cost, at) => cost * callsOf(owner[at] ?? [], front[at] ?? []));
  const inTurn = ratios((cost, at) => (2 * cost) / (both[at] ?? []).reduce((sum, each) => sum + each, 0));
  console.log(
    `one process: ${middle(one)} a call; two, owner + front: ${middle(owner)} a call of the owner, ${middle(front)} of the ` +
      `front, ${middle(both)} of both in turn on one core\n` +
      `two processes give, next to one: ${alone} by what each costs alone, ${inTurn} by what both cost in turn; ` +
      `of ${connections} new connections the busier process had ${split}`,
  );
}

/** Calls in a µs of two processes that are both busy: each spends a little on the calls of the other one, too. */
function callsOf(
  [owner = 0, frontsPart = 0]: readonly number[],
  [ownersPart = 0, front = 0]: readonly number[],
): number {
  return (owner + front - frontsPart - ownersPart) / (owner * front - frontsPart * ownersPart);
}

/** How many of so many new connections the kernel gives the process that gets more of them: the median of some tries. */
async function splitOf(gateway: Subject): Promise<number> {
  const most: number[] = [];
  for (let attempt = 0; attempt < 25; attempt++) {
    const before = await callsInFront(gateway);
    const sockets = await Promise.all(Array.from({ length: connections }, () => open(gateway)));
    await call(sockets, connections);
    const inFront = (await callsInFront(gateway)) - before;
    most.push(Math.max(inFront, connections - inFront));
    for (const socket of sockets) socket.destroy();
  }
  return median(most);
}

/** As many connections to each process: what the kernel gives one of them too many is closed again. */
async function openEvenly(gateway: Subject): Promise<{ readonly ofOwner: Socket[]; readonly ofFront: Socket[] }> {
  const ofOwner: Socket[] = [];
  const ofFront: Socket[] = [];
  while (ofOwner.length + ofFront.length < connections) {
    const before = await callsInFront(gateway);
    const socket = await open(gateway);
    await call([socket], 1);
    const its = (await callsInFront(gateway)) > before ? ofFront : ofOwner;
    if (its.length < connections / 2) its.push(socket);
    else socket.destroy();
  }
  return { ofOwner, ofFront };
}

/** Requests that came to the front, whether it answered or passed them on. */
async function callsInFront({ management }: Subject): Promise<number> {
  const metrics = await (await fetch(`${management}/metrics`)).text();
  const counts = [...metrics.matchAll(/^millrace_front_calls_total\{.*\} (\d+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

async function open({ url }: Subject): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').setNoDelay(true);
  await once(socket, 'connect');
  socket.once('end', () => socket.destroy(new Error('the gateway has ended a connection')));
  return socket;
}

/** So many calls over these connections, in a closed loop. Any answer but the body that was sent voids the run. */
async function call(sockets: readonly Socket[], count: number): Promise<void> {
  let left = count;
  await Promise.all(
    sockets.map(async (socket) => {
      while (left-- > 0) await oneCall(socket);
    }),
  );
}

function oneCall(socket: Socket): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let answer: Buffer = Buffer.alloc(0);
  const take = (chunk: Buffer): void => {
    answer = answer.byteLength === 0 ? chunk : Buffer.concat([answer, chunk]);
    const at = answer.indexOf('\r\n\r\n') + 4;
    if (at < 4 || answer.byteLength < at + body.byteLength) return;
    socket.off('data', take);
    const isRight = answer.subarray(9, 12).toString() === '200' && answer.subarray(at).equals(body);
    if (isRight) resolve();
    else reject(new Error(answer.subarray(0, 500).toString()));
  };
  socket.on('data', take);
  socket.write(request);
  return promise;
}
