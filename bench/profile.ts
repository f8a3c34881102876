import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(import.meta.dirname, '..');
const most = 10;

/** As V8 writes it (`Profiler.Profile` of the DevTools protocol). */
interface Profile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

interface Frame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}

/** Where the gateways of `--profile` write what they did, each under its name: an environment variable, for the sections are programs of their own. */
const folder = (): string | undefined => process.env['MILLRACE_BENCH_PROFILES'];

export function profileInto(path: string): void {
  process.env['MILLRACE_BENCH_PROFILES'] = path;
}

/** What Node is told so that the gateway of that name writes a profile when it ends. Nothing, unless this run is for profiles. */
export function profileArguments(name: string): string[] {
  const path = folder();
  return path === undefined ? [] : ['--cpu-prof', '--cpu-prof-interval', '500', `--cpu-prof-dir=${join(path, name)}`];
}

/** Of each gateway that has ended since this was last asked: the frames of all of its threads in which it spent the most. */
export function topFrames(): Readonly<Record<string, readonly string[]>> {
  const path = folder();
  if (path === undefined || !existsSync(path)) return {};
  const found = readdirSync(path).map((name) => [name, framesOf(join(path, name))] as const);
  rmSync(path, { recursive: true });
  return Object.fromEntries(found);
}

function framesOf(path: string): string[] {
  const spent = new Map<string, number>();
  for (const file of readdirSync(path)) {
    const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(join(path, file), 'utf8')) as Profile;
    const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]));
    for (const [index, node] of samples.entries()) {
      const name = names.get(node) ?? '';
      spent.set(name, (spent.get(name) ?? 0) + (timeDeltas[index] ?? 0));
    }
  }
  spent.delete('(idle)');
  const all = [...spent.values()].reduce((sum, us) => sum + us, 0);
  return [...spent]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, most)
    .map(([name, us]) => `${((us / all) * 100).toFixed(1)} % ${name}`);
}

function nameOf({ functionName, url, lineNumber }: Frame): string {
  const name = functionName || '(anonymous)';
  if (url === '') return name; // Of V8 itself: (program), (garbage collector).
  const path = url.startsWith('file:') ? relative(root, fileURLToPath(url)) : url;
  return `${name} ${path}:${lineNumber + 1}`;
}
