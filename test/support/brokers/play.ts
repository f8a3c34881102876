import { once } from 'node:events';
import { messageOf } from '../../../core/contracts/errors.ts';
import { brokerKinds, isBrokerKind, type OwnBroker, startBroker } from '../brokers.ts';

// `npm run brokers [KIND…]`: brokers for playing by hand, until Ctrl-C.
const wanted = process.argv.slice(2);
const unknown = wanted.filter((kind) => !isBrokerKind(kind));
if (unknown.length > 0) throw new Error(`no broker ${unknown.join(', ')}; known: ${brokerKinds.join(', ')}`);

const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
// A signal's listener does not keep a process alive.
const alive = setInterval(() => undefined, 60_000);
const started: OwnBroker[] = [];
const all = brokerKinds
  .filter((kind) => wanted.length === 0 || wanted.includes(kind))
  .map(async (kind) => {
    try {
      const broker = await startBroker(kind);
      started.push(broker);
      say(`${kind.padEnd(6)} ${broker.url}   (${broker.folder})`);
    } catch (error) {
      say(`${kind.padEnd(6)} ${messageOf(error)}`);
    }
  });
await Promise.race([Promise.all(all), interrupted]);
if (started.length > 0) {
  say('Ctrl-C ends them, and removes what they hold.');
  await interrupted;
}
clearInterval(alive);
await Promise.all(started.map(async (broker) => broker.dispose()));

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
