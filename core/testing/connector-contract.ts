import { describe, it } from 'vitest';
import { messageOf } from '../contracts/errors.ts';
import { type ConnectorBench, type ConnectorTraits, lacking } from './connector-bench.ts';
import { creditCases } from './connector-cases/credit.ts';
import { deliveryCases } from './connector-cases/delivery.ts';
import { settlementCases } from './connector-cases/settlement.ts';
import { stoppingCases } from './connector-cases/stopping.ts';
import { type ConnectorPlant, connectorPlants, planted } from './connector-plants.ts';
import { type ConnectorCase, ConnectorTrial } from './connector-trial.ts';

export interface ConnectorContractOptions {
  readonly name: string;
  readonly traits: ConnectorTraits;
  /** Makes a new, empty source. `own`: one that only this bench has, so that it may die; asked for by few cases. */
  readonly create: (options: { readonly own: boolean }) => Promise<ConnectorBench>;
  /**
   * Bugs to be planted, each of which must be found: by default those that each connector can have, none with `[]`.
   */
  readonly plants?: readonly ConnectorPlant[];
}

/** What every connector promises, one case a promise. */
export const connectorCases: readonly ConnectorCase[] = [
  ...creditCases,
  ...deliveryCases,
  ...settlementCases,
  ...stoppingCases,
];

const timeoutMs = 90_000;

/** Registers every case with vitest: call it at the top of a test file. */
export function connectorContract(options: ConnectorContractOptions): void {
  const { name, traits, create, plants = ['acknowledges early', 'ignores credit'] } = options;
  describe(`${name} keeps the contract of a connector`, () => {
    for (const connectorCase of connectorCases) {
      it(connectorCase.name, { timeout: timeoutMs }, async ({ skip }) => {
        const lacks = await runOn(() => create({ own: isDeadly(connectorCase) }), traits, connectorCase);
        if (lacks !== undefined) skip(`the connector or its bench has no "${lacks}"`);
      });
    }
    for (const plant of plants) {
      it.concurrent(`is found out when it ${plant}`, { timeout: timeoutMs }, async ({ expect }) => {
        const bench = async (): Promise<ConnectorBench> => planted(await create({ own: false }), traits, plant);
        const { says } = connectorPlants[plant];
        const failures: string[] = [];
        for (const connectorCase of casesFor(plant)) {
          await runOn(bench, traits, connectorCase).catch((error: unknown) => void failures.push(messageOf(error)));
          if (failures.length > 0) break;
        }
        expect(failures.join('\n')).toMatch(says);
      });
    }
  });
}

/** Runs one case on a new bench; resolves with what it lacks for it, if it lacks anything. */
export async function runConnectorCase(
  connectorCase: ConnectorCase,
  bench: ConnectorBench,
  traits: ConnectorTraits,
): Promise<string | undefined> {
  const lacks = lacking(connectorCase.needs ?? [], traits, bench);
  if (lacks !== undefined) return lacks;
  const trial = new ConnectorTrial(bench, traits);
  let failure: unknown;
  try {
    await connectorCase.run(trial);
  } catch (error) {
    failure = error;
  }
  // What it has opened is stopped either way, and what was seen meanwhile is told as well.
  const complaints = await trial.finish();
  if (failure !== undefined && complaints.length === 0) throw failure;
  const told = failure === undefined ? complaints : [messageOf(failure), ...complaints];
  if (told.length > 0) throw new Error(told.join('\n'), { cause: failure });
  return undefined;
}

/** Those of which one at least must find it. */
export function casesFor(plant: ConnectorPlant): readonly ConnectorCase[] {
  return connectorPlants[plant].fails.map((start) => {
    const found = connectorCases.find(({ name }) => name.startsWith(start));
    if (!found) throw new Error(`there is no case "${start} …"`);
    return found;
  });
}

async function runOn(
  create: () => Promise<ConnectorBench>,
  traits: ConnectorTraits,
  connectorCase: ConnectorCase,
): Promise<string | undefined> {
  const bench = await create();
  try {
    return await runConnectorCase(connectorCase, bench, traits);
  } finally {
    await bench.dispose();
  }
}

function isDeadly({ needs = [] }: ConnectorCase): boolean {
  return needs.includes('away');
}
