import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { clearUpOnceQuiet } from '../../core/kit/garbage.ts';

// A process of its own for the test of garbage, with V8's waits as flags: takes memory as a start does, is busy, then quiet.

const lookMs = 50;
const heapMib = (): number => process.memoryUsage().heapTotal / 2 ** 20;

let asked = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { detail } = entry as PerformanceEntry & { readonly detail?: { readonly flags?: number } };
    if ((detail?.flags ?? 0) & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) asked++;
  }
});
observer.observe({ entryTypes: ['gc'] });

let held: unknown[] = [];
for (let index = 0; index < 300_000; index++) held.push({ index, text: `text ${index}` });
held = [];
const taken = heapMib();

clearUpOnceQuiet(lookMs);
for (let look = 0; look < 10; look++) {
  const end = performance.now() + lookMs;
  while (performance.now() < end);
  await wait(1);
}
const askedWhileBusy = asked;
while (heapMib() > taken / 2) await wait(20);
await wait(5 * lookMs);
process.stdout.write(JSON.stringify({ askedWhileBusy, asked, held: held.length }));
