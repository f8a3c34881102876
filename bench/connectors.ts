/**
 * Broker → function → acknowledgement, next to a bare loop over the same client library: `npm run bench:connectors --
 * [--messages 80000] [--rounds 7] [--write] [KIND…]`. `--write` puts the table into docs/benchmarks.md.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { type Source, sources, step, warmUp } from './connectors/sources.ts';
import { floors, median, medianInterval } from './measure.ts';
import { circumstances, writeSection } from './page.ts';
import { Servers } from './sides/servers.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    messages: { type: 'string', default: '80000' },
    rounds: { type: 'string', default: '7' },
    write: { type: 'boolean', default: false },
  },
});
const messages = Number(values.messages);
const rounds = Number(values.rounds);
const kinds = positionals.length > 0 ? positionals : Object.keys(sources);
/** CPU of ours ÷ CPU of the bare loop. */
const bar = 1.5;

/**
 * Messages of one side in a row: a tenth of a second at most. What else a machine does can double the CPU time of all that runs
 * on it, for seconds at a time; of two blocks that follow one another it meets both alike.
 */
const block = 10_000;
if (!(messages > 0) || messages % block > 0)
  throw new Error(`--messages ${values.messages}: expected a multiple of ${block}`);
/** Where none have to be put in before, there are so many times as many: the more blocks, the less one of them matters. */
const timesOfSent = 4;

/** One side, in a process of its own, which waits between its blocks. */
class Consumer {
  readonly #run: string;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #send: ((count: number) => Promise<void>) | undefined;

  /** `run` names it, and what it reads where that is gone after it. */
  static async start(kind: string, source: Source, side: 'bare' | 'ours', url: string, run: string): Promise<Consumer> {
    const name = source.isKept ? `bench-${kind}` : run;
    if (!filled.has(name)) await source.fill?.(url, name, (source.warmUp ?? warmUp) + messages);
    filled.add(name);
    const send = await source.sender?.(url, name);
    return new Consumer([kind, side, url, name, run, String(block)], run, send);
  }

  private constructor(args: readonly string[], run: string, send: ((count: number) => Promise<void>) | undefined) {
    const file = join(import.meta.dirname, 'connectors/consume.ts');
    const consumer = spawn(process.execPath, [file, ...args], { stdio: ['pipe', 'pipe', 'inherit'], timeout: 600_000 });
    this.#run = run;
    this.#process = consumer;
    this.#lines = createInterface(consumer.stdout)[Symbol.asyncIterator]();
    this.#send = send;
  }

  /** CPU over one block, µs a message. */
  async block(): Promise<number> {
    this.#process.stdin?.write('go\n');
    for (;;) {
      const { done, value: line } = await this.#lines.next();
      if (done) throw new Error(`the consumer of ${this.#run} ended before it was done`);
      if (line === 'more') await this.#send?.(step);
      else if (/^\d+$/.test(line)) return Number(line) / block;
      else throw new Error(`the consumer of ${this.#run} says ${line}`);
    }
  }

  end(): void {
    this.#process.stdin?.end();
  }
}

const filled = new Set<string>();
const floor = await floors();
const rows: string[] = [];
{
  await using servers = new Servers();
  for (const kind of kinds) {
    const source = sources[kind];
    if (!source) throw new Error(`there is no ${kind}; there are ${Object.keys(sources).join(', ')}`);
    const url = await servers.url(source.broker, source.settings);
    const found = { bare: [] as number[], ours: [] as number[] };
    const ratios: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const bare = await Consumer.start(kind, source, 'bare', url, `bench-${kind}-bare-${round}`);
      const ours = await Consumer.start(kind, source, 'ours', url, `bench-${kind}-ours-${round}`);
      /** Of all blocks of the round, with each collection of garbage that fell into one. */
      const sum = { bare: 0, ours: 0 };
      const count = source.sender ? messages * timesOfSent : messages;
      for (let pair = -(source.warmUp ?? warmUp) / block; pair < count / block; pair++) {
        // In turn, and back again.
        const [first, second] = pair % 2 === 0 ? [bare, ours] : [ours, bare];
        const [a, b] = [await first.block(), await second.block()];
        if (pair < 0) continue;
        const [own, other] = first === ours ? [a, b] : [b, a];
        found.ours.push(own);
        found.bare.push(other);
        sum.ours += own;
        sum.bare += other;
      }
      bare.end();
      ours.end();
      const ratio = sum.ours / sum.bare;
      ratios.push(ratio);
      console.log(`${round} ${kind}: ${ratio.toFixed(2)} ×, ${count / block} blocks of each side`);
    }
    const [least, most] = medianInterval(ratios);
    const ratio = `${median(ratios).toFixed(2)} × (${least.toFixed(2)}–${most.toFixed(2)})`;
    const cells = [kind, median(found.bare).toFixed(1), median(found.ours).toFixed(1), ratio];
    const verdict = most <= bar ? 'met' : '**missed**';
    rows.push(`| ${[...cells, source.isAnotherPromise ? 'no bar' : verdict].join(' | ')} |`);
  }
}

const text = `Written by \`npm run bench:connectors -- --write\` on ${circumstances()}.
Floors of the machine: ${floor}.

Method: a broker with messages of 256 bytes, and two consumers in processes of their own, with at most 64 unacknowledged and a
function on the main thread that does nothing (kafkajs gives them one by one). CPU of the consumer's process, all of its threads, over ${messages.toLocaleString('en')} messages (where they need not be put
in before, ${(messages * timesOfSent).toLocaleString('en')}), in blocks of ${block.toLocaleString('en')} of either side in turn (there and back), since what else the machine does may double the CPU time of all for seconds;
${warmUp.toLocaleString('en')} go before, until V8 has compiled both sides (of \`mqtt-enqueued\` ${(sources['mqtt-enqueued']?.warmUp ?? warmUp).toLocaleString('en')}, until the memory queue has as
much to remember as it ever will). ${rounds} rounds, each with two new processes, medians. The ratio of a round is that of the CPU time of
all blocks of either side; the ratio is the median of those of the rounds, with the interval in which it lies with 95 % (bootstrap); the bar is met
where the worse end of that meets it. Bare: the loop that one would write over the same client library, each message
acknowledged when its handler has resolved. The bar: at most ${bar} × the CPU of that.

Brokers of \`mqtt\` and \`nats\` keep nothing for whoever is not there yet: they are sent ${step} messages at a time, four times as
many under way. All rows but one acknowledge after the function (\`ack: processed\`), as the bare loops do after their handlers (MQTT with QoS 1).
\`mqtt-enqueued\` is the default of that connector: acknowledged when the message is in our queue, and run from there. Each goes through
the pipeline twice and through the memory queue, which keeps of each that it has ended: that row tells what the promise costs, for the bare
loop keeps nothing. Core NATS has no acknowledgement: the bare loop awaits its
handler. No results are kept, on either side.

| connector | bare, µs CPU a message | Millrace | ratio | |
|---|---|---|---|---|
${rows.join('\n')}
`;
console.log(`\n${text}`);
if (values.write) writeSection('connectors', text);
process.exit(0);
