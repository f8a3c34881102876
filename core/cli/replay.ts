import type { Client } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { linesIn } from './line-reader.ts';
import { colours, printable, printJson } from './output.ts';
import { ProgressBar } from './progress-bar.ts';

interface Failure {
  readonly id: string;
  readonly code: string;
  readonly message: string;
}

type Line =
  | { readonly done: false; readonly total: number; readonly replayed: number; readonly failures: number }
  | {
      readonly done: true;
      readonly total: number;
      readonly replayed: number;
      readonly failed: readonly Failure[];
      readonly left: number;
    };

interface Edits {
  readonly to: string | undefined;
  readonly headers: Readonly<Record<string, string | null>> | undefined;
  readonly bodyBase64: string | undefined;
}

/** Replays the letters that are named, one after another. */
export async function replayEach(
  client: Client,
  ids: readonly string[],
  edits: Edits,
  json: boolean | undefined,
): Promise<ExitCode> {
  const replayed: { letter: string; id: string; location: string }[] = [];
  const failures: CliError[] = [];
  const failed: { id: string; message: string }[] = [];
  const bar = progressBar(ids.length);
  for (const id of ids) {
    try {
      const path = `/system/dead-letters/${encodeURIComponent(id)}/replay`;
      replayed.push({
        letter: id,
        ...(await client.json<{ id: string; location: string }>('POST', path, { data: edits })),
      });
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      failures.push(error);
      failed.push({ id, message: error.message });
      // The rest would fail in the same way.
      if (error.exitCode === exitCodes.unreachable || error.exitCode === exitCodes.unauthorized) break;
    }
    bar?.increment();
  }
  bar?.stop();
  if (json) printJson({ replayed, failed });
  else {
    for (const { letter, id } of replayed) console.log(`${printable(letter)} runs again as ${id}`);
    for (const { id, message } of failed) console.error(`${printable(id)}: ${colours.red(message)}`);
  }
  return failures[0]?.exitCode ?? exitCodes.ok;
}

/** Replays all that match, with a bar on standard error where a person looks at it. */
export async function replayByFilter(
  client: Client,
  filter: Readonly<Record<string, unknown>>,
  json: boolean | undefined,
): Promise<ExitCode> {
  const answer = await client.ok('POST', '/system/dead-letters/replay', {
    body: JSON.stringify(filter),
    headers: { 'content-type': 'application/json', accept: 'application/x-ndjson' },
  });
  let bar: ProgressBar | undefined;
  let end: Extract<Line, { done: true }> | undefined;
  try {
    for await (const text of linesIn(answer.body)) {
      const line = JSON.parse(text) as Line;
      bar ??= progressBar(line.total);
      bar?.update(line.replayed + (line.done ? line.failed.length : line.failures));
      if (line.done) end = line;
    }
  } catch {
    // Said below: the last line is missing.
  }
  bar?.stop();
  if (!end) {
    throw new CliError(
      exitCodes.failed,
      'the gateway went away in the middle: run the same command again, what was replayed is not replayed twice',
    );
  }
  const { replayed, failed, left } = end;
  if (json) printJson({ replayed, failed, left });
  else {
    console.log(`replayed ${replayed}${left > 0 ? `; ${left} more match: run it again` : ''}`);
    for (const { id, message } of failed) console.error(`${id}: ${colours.red(printable(message, 300))}`);
  }
  return failed.length > 0 ? exitCodes.failed : exitCodes.ok;
}

function progressBar(total: number): ProgressBar | undefined {
  return process.stderr.isTTY && total >= 2 ? new ProgressBar('replaying', total, process.stderr) : undefined;
}
