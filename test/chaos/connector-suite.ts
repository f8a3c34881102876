import { expect, it } from 'vitest';
import { saw, seed, times } from '../support/promise.ts';
import { describeWithOwnBroker } from '../support/with-broker.ts';
import { brokenMessages, checkMessages } from './connector-checker.ts';
import { messageRun, messageSummary, type MessageStrike } from './connector-driver.ts';
import { connectorFailpoints, type CrashConnector } from './connectors.ts';

/** How often each of the strikes of one round is made. */
const rounds = Number(process.env['MILLRACE_CHAOS_CONNECTOR_ROUNDS'] ?? times(1, 10));

/** One at each named place. Before a gateway is given its place it is killed at a random moment. */
function strikesOn({ failpoints }: CrashConnector): MessageStrike[] {
  const named = [...connectorFailpoints, ...failpoints].map((): MessageStrike => 'failpoint');
  return Array.from({ length: rounds }, (): MessageStrike[] => ['broker', 'stall', 'leave', ...named]).flat();
}
const log = (text: string): void => void process.stderr.write(`  ${text}\n`);

/** What every connector of messages is held to, over a broker of its own that is struck as its gateways are. */
export async function connectorCrashSuite(connector: CrashConnector): Promise<void> {
  const { kind, broker } = connector;
  await describeWithOwnBroker(
    broker,
    `connector ${kind}: gateways and a broker that are killed while they work`,
    () => {
      it(
        'loses nothing that the broker confirmed, gives little again and keeps the order that it promises (P9)',
        { timeout: times(600_000, 7_200_000) },
        async ({ task }) => {
          const history = await messageRun({
            seed,
            connector,
            gateways: 2,
            strikes: strikesOn(connector),
            paceMs: 80,
            log,
          });
          log(`connector ${kind}, seed ${seed}: ${messageSummary(history)}`);
          saw(task, { seed, result: `connector ${kind}: ${messageSummary(history)}` });
          expect(brokenMessages(history), `seed ${seed}`).toEqual([]);
        },
      );

      const { unordered } = connector;
      it.runIf(unordered)('is caught when it does not keep the order of a key', { timeout: 120_000 }, async () => {
        const history = await messageRun({
          seed,
          connector: { ...connector, connector: unordered ?? connector.connector },
          gateways: 2,
          strikes: ['leave'],
          paceMs: 5,
          longestMs: 200,
        });
        expect(checkMessages(history).outOfOrder.length).toBeGreaterThan(0);
      });

      // Whether its early word has left it before it is killed is chance, so it is given several.
      it('is caught when it acknowledges early', { timeout: 400_000 }, async () => {
        let lost = 0;
        for (let run = 0; run < 5 && lost === 0; run++) {
          const history = await messageRun({
            seed: seed + run,
            connector,
            gateways: 1,
            strikes: ['failpoint', 'failpoint'],
            // When as many as may be are under way, of which their function, or their queue, has not seen the end.
            failpoints: ['execute.running:40', 'queue.before-commit:10'],
            paceMs: 80,
            ...connector.early,
            early: true,
          });
          lost = checkMessages(history).lost.length;
        }
        expect(lost).toBeGreaterThan(0);
      });
    },
  );
}
