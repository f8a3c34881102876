import { MillraceError } from '../../../core/contracts/errors.ts';
import type { AmqpConnection } from '../../connections/amqp/connection.ts';
import type { Catalog, Catalogued, Segment } from './catalog.ts';
import { scan, scanToEnd } from './scan.ts';
import { declareStream, deleteStream, hasStream } from './stream.ts';

export interface DiscoverOptions {
  readonly amqp: AmqpConnection;
  readonly catalog: Catalog;
  readonly journal: string;
  readonly nameOf: (segment: Pick<Segment, 'generation'>) => string;
  readonly signal: AbortSignal;
}

export interface Discovered {
  readonly segments: readonly [Segment, ...Segment[]];
  /** The next offset of the last segment. */
  readonly next: number;
  /** What the last segment holds, at least. */
  readonly bytes: number;
  /** The position of the last entry; -1 when there is none. */
  readonly lastEntry: number;
}

/** How far it is looked back for an entry, first; then twice as far. */
const lookBack = 64;

/** Finds out of what streams a journal consists, and where it ends. Makes the first one when there is none. */
export async function discover(options: DiscoverOptions): Promise<Discovered> {
  const { catalog, journal, signal } = options;
  for (let known = await catalog.load(journal, signal); ;) {
    try {
      return await walk(options, known);
    } catch (error) {
      // Others may have forgotten some of it since the catalog was read.
      const now = await catalog.load(journal, signal);
      if (now.first?.generation === known.first?.generation) throw error;
      known = now;
    }
  }
}

async function walk(options: DiscoverOptions, { first: known, bases }: Catalogued): Promise<Discovered> {
  const { amqp, catalog, journal, nameOf } = options;
  const first = known ?? { generation: 0, base: 0 };
  const segments: [Segment, ...Segment[]] = [first];
  if (!known) await declareStream(amqp, nameOf(first));
  else if (!(await hasStream(amqp, nameOf(first)))) throw gone(nameOf(first));
  if (!known) await catalog.write({ journal, first, segment: first });
  await removeOrphans(options, first);
  for (let last: Segment = first; ; segments.push(last)) {
    const following = { generation: last.generation + 1 };
    let base = bases.get(following.generation);
    if (base === undefined) {
      await declareStream(amqp, nameOf(last));
      const end = await endOf(options, last);
      // Made before the seal is written: without it there was no seal before the mark that found the end.
      if (!(await hasStream(amqp, nameOf(following)))) {
        const lastEntry = end.lastEntry ?? (await lastEntryBefore(options, segments, end.first));
        return { segments, next: end.next, bytes: end.bytes, lastEntry };
      }
      const seal = await sealOf(options, last);
      if (seal.offset === undefined) {
        const lastEntry = await lastEntryBefore(options, segments, seal.next);
        return { segments, next: seal.next, bytes: end.bytes, lastEntry };
      }
      base = last.base + seal.offset;
      await catalog.write({ journal, first, segment: { ...following, base } });
    } else if (!(await hasStream(amqp, nameOf(following)))) throw gone(nameOf(following));
    last = { ...following, base };
  }
}

/** What was forgotten, but for a crash before it was deleted. */
async function removeOrphans({ amqp, nameOf }: DiscoverOptions, { generation }: Segment): Promise<void> {
  for (let before = generation - 1; before >= 0; before--) {
    const name = nameOf({ generation: before });
    if (!(await hasStream(amqp, name))) return;
    await deleteStream(amqp, name);
  }
}

async function endOf(
  { amqp, nameOf, signal }: DiscoverOptions,
  segment: Segment,
): Promise<{ next: number; first: number; bytes: number; lastEntry: number | undefined }> {
  let first: number | undefined;
  let bytes = 0;
  let lastEntry: number | undefined;
  const end = await scanToEnd({
    amqp,
    stream: nameOf(segment),
    from: 'last',
    signal,
    hear: (offset, message, content) => {
      first ??= offset;
      if (message && message.kind !== 'entry') return false;
      lastEntry = segment.base + offset;
      bytes = (message?.bytesBefore ?? 0) + content.byteLength;
      return false;
    },
  });
  return { next: end + 1, first: first ?? end, bytes, lastEntry };
}

/** The offset of the first seal; undefined when there is none before `next`. */
async function sealOf(
  { amqp, nameOf, signal }: DiscoverOptions,
  segment: Segment,
): Promise<{ offset: number | undefined; next: number }> {
  let seal: number | undefined;
  const end = await scanToEnd({
    amqp,
    stream: nameOf(segment),
    from: 0,
    signal,
    hear: (offset, message) => {
      if (message?.kind === 'seal') seal ??= offset;
      return false;
    },
  });
  return { offset: seal, next: end + 1 };
}

async function lastEntryBefore(
  { amqp, nameOf, signal }: DiscoverOptions,
  segments: readonly Segment[],
  offsetInLast: number,
): Promise<number> {
  let end = offsetInLast;
  for (const segment of segments.toReversed()) {
    for (let length = lookBack; end > 0; length *= 2) {
      const from = Math.max(0, end - length);
      let last: number | undefined;
      const upTo = end;
      await scan({
        amqp,
        stream: nameOf(segment),
        from,
        signal,
        hear: (offset, message) => {
          if (offset < upTo && message?.kind !== 'mark' && message?.kind !== 'seal') last = segment.base + offset;
          return offset >= upTo - 1;
        },
      });
      if (last !== undefined) return last;
      end = from;
    }
    const before = segments[segments.indexOf(segment) - 1];
    if (before) end = segment.base - before.base;
  }
  return -1;
}

function gone(name: string): MillraceError {
  return new MillraceError(
    'config.invalid',
    `the stream ${name} is gone, and with it a part of the queue: put it back, or remove all streams of this queue ` +
      'to begin anew',
  );
}
