import { describe, expect, it } from 'vitest';
import { describeWithOwnKube } from '../support/kube/with-kube.ts';
import { saw, seed, times } from '../support/promise.ts';
import { fakeWorld, realWorld } from '../support/kube/worlds.ts';
import { broken, check } from './checker.ts';
import { kubeRun, type KubePlan, type KubeRun } from './kube-driver.ts';

const steps = Number(process.env['MILLRACE_KUBE_STEPS'] ?? times(20, 500));
const log = (text: string): void => void process.stderr.write(`  ${text}\n`);

describe('a gateway whose functions are in a cluster', () => {
  it(
    'loses nothing and deploys nothing twice, whatever happens to it (P29)',
    { timeout: 3_600_000 },
    async ({ task }) => {
      saw(task, { seed, result: `fake API: ${await holds({ seed, steps, world: fakeWorld, log })}` });
    },
  );

  it('is caught when a pod takes its calls along', { timeout: 120_000 }, async () => {
    const only = Array.from({ length: 12 }, () => 'kill' as const);
    const { history } = await kubeRun({ seed, steps: only.length, world: fakeWorld, attempts: 1, only });
    expect(check(history).deadWrong.length).toBeGreaterThan(0);
  });
});

describeWithOwnKube('a gateway whose functions are in a real cluster', (programs) => {
  it(
    'loses nothing and deploys nothing twice, whatever happens to it (P29)',
    { timeout: 3_600_000 },
    async ({ task }) => {
      const plan = {
        seed,
        steps,
        world: (images: Parameters<typeof fakeWorld>[0]) => realWorld(programs, images),
        log,
      };
      saw(task, { seed, result: `API server: ${await holds(plan)}` });
    },
  );
});

/** Returns what happened, in a few words. */
async function holds(plan: KubePlan): Promise<string> {
  const run = await kubeRun(plan);
  log(summary(plan, run));
  expect([...broken(check(run.history)), ...run.cluster], `seed ${plan.seed}`).toEqual([]);
  expect(run.history.accepted.length).toBeGreaterThan(plan.steps);
  return `${plan.steps} steps, ${run.history.accepted.length} accepted, 0 lost, ${run.missing} not there`;
}

function summary({ seed, steps }: KubePlan, { history, done, missing, strays }: KubeRun): string {
  const { duplicates, duplicatesAllowed, lost } = check(history);
  return (
    `${steps} steps, seed ${seed}: ${history.accepted.length} accepted, ${missing} not there, ${lost.length} lost, ` +
    `${duplicates} duplicates of ${duplicatesAllowed} allowed, ${strays} strays; ${JSON.stringify(done)}`
  );
}
