import { afterEach, expect } from 'vitest';
import type { Invocation, Outcome } from '../../core/contracts/invocation.ts';
import type { FunctionEntry } from '../../core/contracts/provider.ts';
import { makeCall, makeInvocation } from '../../core/testing/index.ts';
import { bytesOf } from '../../core/testing/provider-contract.ts';
import { type ProcessBench, processBench } from '../contract/process-bench.ts';
import { isRunning } from './processes.ts';

const open: ProcessBench[] = [];

/** A bench for one test, stopped after it. */
export async function setup(config: Readonly<Record<string, unknown>> = {}): Promise<ProcessBench> {
  const bench = await processBench(config);
  open.push(bench);
  return bench;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((bench) => bench.dispose()));
});

export function send(entry: FunctionEntry, sent: Partial<Invocation> = {}, signal?: AbortSignal): Promise<Outcome> {
  return entry.provider.invoke(entry, makeCall(makeInvocation(entry.name, sent), signal));
}

export async function textOf(outcome: Outcome): Promise<string> {
  return (await bytesOf(outcome)).toString();
}

export async function gone(...pids: readonly number[]): Promise<void> {
  await expect.poll(() => pids.filter(isRunning), { timeout: 20_000, interval: 10 }).toEqual([]);
}
