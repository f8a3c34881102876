import { sleep } from '../contracts/clock.ts';
import type { Client } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { linesIn } from './line-reader.ts';

type Query = Readonly<Record<string, string | undefined>>;

/** The gateway gives a sign of life every 15 s. */
const silenceMs = 45_000;
const firstWaitMs = 250;
const maxWaitMs = 5000;

/**
 * What a function writes, line by line, for ever. A connection that ends is made anew, and goes on after the last line that
 * was given: none comes twice, whatever the gateway still has. `onGap` is told why it ended.
 *
 * @throws CliError where the gateway cannot be reached at first, or refuses.
 */
export async function* followedLines(
  client: Client,
  query: Query,
  onGap: (reason: string) => void,
): AsyncGenerator<string> {
  const place = new LogPlace();
  let asked = query;
  let isFirst = true;
  let waitMs = firstWaitMs;
  for (;;) {
    let reason = 'the gateway has ended the connection';
    try {
      const { body } = await client.ok('GET', '/system/logs', { query: asked, patienceMs: silenceMs });
      isFirst = false;
      for await (const line of linesIn(body)) {
        waitMs = firstWaitMs;
        // Empty lines are signs of life.
        if (line !== '' && place.isNew(line)) yield line;
      }
    } catch (error) {
      if (isFirst || (error instanceof CliError && !isPassing(error))) throw error;
      reason = (error as Error).message;
    }
    onGap(reason);
    await sleep(waitMs);
    waitMs = Math.min(2 * waitMs, maxWaitMs);
    const since = place.resume();
    if (since !== undefined) asked = { ...query, tail: undefined, since };
  }
}

/** A gateway that is being started, or what stands before it meanwhile. */
function isPassing({ exitCode, details }: CliError): boolean {
  return exitCode === exitCodes.unreachable || Number(details['status']) >= 500;
}

/** How far the lines of a log have been read. Its clock counts milliseconds, so that those of the last one are known by their text. */
export class LogPlace {
  #at = '';
  #last = new Map<string, number>();
  #owed = new Map<string, number>();

  /** From when on to ask; undefined: nothing has been read. What was read of that time is not new when it comes again. */
  resume(): string | undefined {
    this.#owed = new Map(this.#last);
    return this.#at || undefined;
  }

  isNew(line: string): boolean {
    const owed = this.#owed.get(line) ?? 0;
    if (owed > 0) {
      this.#owed.set(line, owed - 1);
      return false;
    }
    const { timestamp } = JSON.parse(line) as { readonly timestamp: string };
    if (timestamp > this.#at) {
      this.#at = timestamp;
      this.#last = new Map();
    }
    if (timestamp === this.#at) this.#last.set(line, (this.#last.get(line) ?? 0) + 1);
    return true;
  }
}
