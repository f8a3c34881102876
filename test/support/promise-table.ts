import { relative } from 'node:path';
import type { Seen } from './promise.ts';

/** What is promised, by the numbers of the founders' `reliability.md`, §4: no more than what the tests of that number show. */
export const promises: Readonly<Record<string, string>> = {
  P1: 'A 202 survives what its `X-Durability` says: `disk` a power cut and `kill -9`, `memory` neither; a broker as much as its own settings say.',
  P2: 'What was accepted runs, or expires or is cancelled as it was told to, and ends once, in one final state.',
  P3: 'What runs twice was in flight at a kill; without a kill nothing runs twice.',
  P4: 'What was refused never runs.',
  P5: 'What failed for good is a dead letter, once, with its body, headers and every attempt’s error; a replay of it runs.',
  P6: 'With an order key, one at a time and first come first served, retries included.',
  P7: 'A higher priority waits less, and the lowest one never longer than aging lets it.',
  P8: 'A restart takes no longer because much is queued.',
  P9: 'A broker that is stopped, killed or stalled loses nothing through us, and work goes on when it is back.',
  P10: 'A network that is slow, cut, half open or tears bytes changes none of this, and no call hangs.',
  P11: 'A gateway that was stalled past its lease settles nothing.',
  P12: 'A full disk is refused before anything is accepted; what was accepted is kept, and work goes on when there is room.',
  P13: 'A slow disk makes calls slower; it does not make memory grow.',
  P14: 'A file that was changed is found out; no wrong body is ever served.',
  P15: 'A clock that jumps ends no lease early and fires no schedule twice.',
  P16: 'In little memory the gateway refuses instead of being killed.',
  P17: 'Callers that are slow, or mean harm, hold up nobody else, and are cut off.',
  P18: 'Nothing that a client, function, broker or file says ends the process.',
  P19: 'Who may see some namespaces neither sees nor changes anything in others.',
  P20: 'A stop finishes what runs or hands it back; behind a load balancer no call fails.',
  P21: 'A queue or store of an older release is opened and drained; one of a newer release is refused by its name.',
  P22: 'Under a load of all kinds descriptors, timers and threads stay as they were; of memory `npm run soak` says it.',
  P23: 'A result can be read for as long as it is kept; a callback comes at least once, signed, and is tried so often at most.',
  P24: 'A reload is all or nothing: a bad file changes nothing, and no call is dropped.',
  P25: 'The numbers are true: accepted = waiting + running + ended, also after a crash.',
  P26: 'What was cancelled before it began never runs; what runs is told to stop; twice is as good as once.',
  P27: 'The work of a gateway that died is taken up soon.',
  P28: 'Who gets an answer gets his own; who leaves, or waits too long, ends his call.',
  P29: 'Scaling, and endpoints and pods that come and go, lose nothing.',
  P30: 'A plugin that throws, floods, hangs or settles twice is named and contained; all else goes on.',
};

/** The part of vitest's JSON report that is read here. */
export interface Report {
  /** ms */
  readonly startTime: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly meta?: { readonly promise?: Seen };
    }[];
  }[];
}

interface Shown {
  readonly files: Set<string>;
  readonly seen: Seen[];
  passed: number;
  readonly failed: string[];
}

/** The promises that a title names: `(P12)`, `(P2, P3)`. */
export function promisesIn(title: string): readonly string[] {
  return [...title.matchAll(/\((P\d{1,2}(?:, P\d{1,2})*)\)/g)].flatMap(([, ids = '']) => ids.split(', '));
}

/** The table in Markdown: a row for each promise that a test showed, or failed to show, in this run. */
export function promiseTable(report: Report, root: string): string {
  const byPromise = shownIn(report, root);
  const date = new Date(report.startTime).toISOString().slice(0, 10);
  const rows = Object.entries(promises).flatMap(([id, text]) => {
    const shown = byPromise.get(id);
    return shown ? [`| ${id} | ${text} | ${filesOf(shown.files)} | ${resultOf(shown)} |`] : [];
  });
  return ['', `| | promise | tested by | run of ${date} |`, '|---|---|---|---|', ...rows, ''].join('\n');
}

function shownIn(report: Report, root: string): ReadonlyMap<string, Shown> {
  const byPromise = new Map<string, Shown>();
  for (const { name, assertionResults } of report.testResults) {
    for (const { fullName, status, meta } of assertionResults) {
      if (status !== 'passed' && status !== 'failed') continue;
      for (const id of promisesIn(fullName)) {
        if (!(id in promises)) throw new Error(`${name}: there is no promise ${id}: "${fullName}"`);
        const shown = byPromise.get(id) ?? { files: new Set(), seen: [], passed: 0, failed: [] };
        byPromise.set(id, shown);
        shown.files.add(relative(root, name));
        if (status === 'failed') shown.failed.push(fullName);
        else shown.passed++;
        if (status === 'passed' && meta?.promise) shown.seen.push(meta.promise);
      }
    }
  }
  return byPromise;
}

/** Where a folder has many, it is named. */
function filesOf(files: ReadonlySet<string>): string {
  const byFolder = Map.groupBy([...files].toSorted(), (file) => file.slice(0, file.lastIndexOf('/')));
  const named = [...byFolder].flatMap(([folder, all]) => (all.length > 3 ? [`${folder} (${all.length} files)`] : all));
  return named.map((name) => `\`${name.replace(/ \(.*$/, '')}\`${/ \(.*$/.exec(name)?.[0] ?? ''}`).join(', ');
}

function resultOf({ seen, passed, failed }: Shown): string {
  const counts = Map.groupBy(seen, ({ result }) => result);
  const results = [...counts].map(([result, all]) =>
    all.length > 1 ? `${all.length} × ${result}` : withSeed(result, all),
  );
  const rest = passed - seen.length;
  if (rest > 0) results.push(`${rest} ${results.length > 0 ? 'more ' : ''}test${rest === 1 ? '' : 's'} passed`);
  const wrong = failed.map((title) => `**failed**: ${title}`);
  return [...wrong, ...results].join('; ').replaceAll('|', '\\|');
}

function withSeed(result: string, [first]: readonly Seen[]): string {
  return first?.seed === undefined ? result : `${result} (seed ${first.seed})`;
}

export const markers = { from: '<!-- promises: npm run promises -->', to: '<!-- /promises -->' } as const;

/** The text with that table between its two markers. */
export function withTable(text: string, table: string): string {
  const from = text.indexOf(markers.from);
  const to = text.indexOf(markers.to, from);
  if (from < 0 || to < 0) throw new Error(`the text has no place for the table: ${markers.from} … ${markers.to}`);
  return `${text.slice(0, from + markers.from.length)}\n${table}\n${text.slice(to)}`;
}
