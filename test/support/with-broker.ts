import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { describe, inject, it } from 'vitest';
import type { SharedBroker } from './broker-server.ts';
import { BrokerMissing, type BrokerKind, recipes } from './brokers.ts';
import { programsOf } from './brokers/programs.ts';

/**
 * `describe` over the broker that all test files share, started when the first of them asks. Without one its tests are
 * skipped, with one line that says why; under `npm test -- --require-brokers` they fail. To be awaited at the top of a
 * test file. Others use the same broker at the same time: whatever a test makes there has a name of its own.
 */
export async function describeWithBroker(kind: BrokerKind, name: string, suite: (url: string) => void): Promise<void> {
  const shared = await ask(kind);
  if ('url' in shared) describe(name, () => suite(shared.url));
  else without(name, shared.missing);
}

/** `describe` of tests that start brokers of their own by `startBroker`; without its programs, as above. */
export async function describeWithOwnBroker(kind: BrokerKind, name: string, suite: () => void): Promise<void> {
  await describeWithPrograms(recipes[kind], name, suite);
}

/** `describe` of tests that run these programs; without them, as above. */
export async function describeWithPrograms(
  wanted: Parameters<typeof programsOf>[0],
  name: string,
  suite: (programs: Readonly<Record<string, string>>) => void,
): Promise<void> {
  let programs: Readonly<Record<string, string>>;
  try {
    programs = await programsOf(wanted);
  } catch (error) {
    if (!(error instanceof BrokerMissing)) throw error;
    without(name, error.message);
    return;
  }
  describe(name, () => suite(programs));
}

async function ask(kind: BrokerKind): Promise<SharedBroker> {
  const question = request({ socketPath: inject('brokers'), path: `/${kind}` });
  question.end();
  const [answer] = (await once(question, 'response')) as [IncomingMessage];
  const body = await text(answer);
  if (answer.statusCode !== 200) throw new Error(`the ${kind} broker could not be started: ${body}`);
  return JSON.parse(body) as SharedBroker;
}

function without(name: string, missing: string): void {
  if (process.env['MILLRACE_REQUIRE_BROKERS'] === '1') {
    it(name, () => {
      throw new BrokerMissing(missing);
    });
    return;
  }
  process.stderr.write(`skipped: ${name}: ${missing}\n`);
  describe(name, () => it.skip(missing, () => undefined));
}
