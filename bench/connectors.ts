/**
 * Broker → function → acknowledgement, next to a bare loop over the same client library: `npm run bench:connectors --
 * [--messages 80000] [--rounds 7] [--write] [KIND…]`. `--write` puts the table into docs/benchmarks.md.
 */
import { spawn } from 'node:child_process';
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

/** CPU of the consumer, µs a message. `run` names it, and what it reads where that is gone after it. */
async function consume(kind: string, source: Source, side: 'bare' | 'ours', url: string, run: string): Promise<number> {
  const name = source.isKept ? `bench-${kind}` : run;
  if (!filled.has(name)) await source.fill?.(url, name, (source.warmUp ?? warmUp) + messages);
  filled.add(name);
  const send = await source.sender?.(url, name);
  const args = [join(import.meta.dirname, 'connectors/consume.ts'), kind, side, url, name, run, String(messages)];
  const consumer = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], timeout: 600_000 });
  for await (const line of createInterface(consumer.stdout)) {
    if (line === 'more') await send?.(step);
    else if (!/^[\d.]+$/.test(line)) throw new Error(`the consumer of ${run} says ${line}`);
    else return Number(line);
  }
  throw new Error(`the consumer of ${run} ended before it was done`);
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
    for (let round = 0; round < rounds; round++) {
      // In turn, and back again, so that what else the machine does meets both alike.
      for (const side of round % 2 === 0 ? (['bare', 'ours'] as const) : (['ours', 'bare'] as const)) {
        found[side].push(await consume(kind, source, side, url, `bench-${kind}-${side}-${round}`));
      }
      console.log(`${round} ${kind}: bare ${found.bare.at(-1)} µs, ours ${found.ours.at(-1)} µs a message`);
    }
    const ratios = found.ours.map((ours, round) => ours / (found.bare[round] ?? Number.NaN));
    const [least, most] = medianInterval(ratios);
    const ratio = `${median(ratios).toFixed(2)} × (${least.toFixed(2)}–${most.toFixed(2)})`;
    const cells = [kind, median(found.bare).toFixed(1), median(found.ours).toFixed(1), ratio];
    rows.push(`| ${[...cells, most <= bar ? 'met' : '**missed**'].join(' | ')} |`);
  }
}

const text = `Written by \`npm run bench:connectors -- --write\` on ${circumstances()}.
Floors of the machine: ${floor}.

Method: a broker with messages of 256 bytes, and a consumer in a process of its own, with at most 64 unacknowledged and a
function on the main thread that does nothing (kafkajs gives them one by one). CPU of the consumer's process, all of its threads, over ${messages.toLocaleString('en')} messages;
${warmUp.toLocaleString('en')} go before, until V8 has compiled both sides (of MQTT ${(sources['mqtt']?.warmUp ?? warmUp).toLocaleString('en')}, until the memory queue has as
much to remember as it ever will). ${rounds} times of each in turn (there and back), medians. The ratio is the
median of the ratios within a round, with the interval in which it lies with 95 % (bootstrap); the bar is met where the
worse end of that meets it. Bare: the loop that one would write over the same client library, each message
acknowledged when its handler has resolved. The bar: at most ${bar} × the CPU of that.

Brokers of \`mqtt\` and \`nats\` keep nothing for whoever is not there yet: they are sent ${step} messages at a time, four times as
many under way. MQTT messages are acknowledged when they are in our queue (\`ack: enqueued\`, the only mode there is: MQTT has
no word to hand a message back) and run from there: each goes through the pipeline twice and through the memory queue, which
keeps of each that it has ended. The bare loop acknowledges after its handler (QoS 1) and keeps nothing, so that its row tells
what that promise costs and not what the connector does. Core NATS has no acknowledgement: the bare loop awaits its
handler. No results are kept, on either side.

| connector | bare, µs CPU a message | Millrace | ratio | |
|---|---|---|---|---|
${rows.join('\n')}
`;
console.log(`\n${text}`);
if (values.write) writeSection('connectors', text);
process.exit(0);
