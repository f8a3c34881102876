import { globSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { messageOf } from '../contracts/errors.ts';
import type { OnRead } from './bounded-file.ts';
import { isMap } from './entries.ts';
import { warning } from './lint.ts';
import { fileText } from './interpolate.ts';
import { problem, type Source } from './issues.ts';
import type { Problem } from './problem.ts';
import { type Environment, type Path, readTree, type Tree } from './tree.ts';

/** Maps that may be spread over several files. */
const mergeable: readonly Path[] = [
  ['connections'],
  ['queues'],
  ['stores'],
  ['providers'],
  ['functions'],
  ['connectors'],
  ['policies', 'retry'],
];

/** Where a configuration came from, so that it can be told whether it would read the same now. */
export interface Origin {
  /** By path, `${file:…}` included: what the file said; undefined where it could not be read. */
  readonly files: ReadonlyMap<string, string | undefined>;
  /** By glob of `include`, in the folder: the files that matched it. */
  readonly folder: string;
  readonly globs: ReadonlyMap<string, readonly string[]>;
}

/** One configuration, of however many files it was made. */
export interface Merged extends Source {
  /** What was read, and what was looked for. */
  readonly origin: Origin;
  /** Undefined when the main file is not fit to be looked at further. */
  readonly value: Record<string, unknown> | undefined;
  /** What `${file:…}` put in. */
  readonly secrets: readonly string[];
  readonly problems: readonly Problem[];
  /** As `FileFindings` has it. */
  readonly read: (path: string) => string;
}

/**
 * Reads the file, and puts the maps of the files that it includes beside its own. A name that comes twice is an error.
 * `shown`: how the file is called in messages.
 */
export function readMerged(path: string, shown: string, environment: Environment): Merged {
  const files = new Map<string, string | undefined>();
  const globs = new Map<string, readonly string[]>();
  const onRead: OnRead = (file, text) => files.set(file, text);
  const main = prepared(readTree(path, shown, environment, onRead));
  const problems = [...main.problems];
  const secrets = [...main.secrets];
  const owners = new Map<string, Tree>();
  const keyOf = (at: Path): string => at.join('\u0000');
  const ownerOf = (at: Path): Tree =>
    owners.size === 0 ? main : (owners.get(keyOf(at.slice(0, 2))) ?? owners.get(keyOf(at.slice(0, 3))) ?? main);
  const { value } = main;
  const merged = {
    origin: { files, folder: dirname(path), globs },
    value,
    place: (at: Path) => ownerOf(at).place(at),
    outside: (at: Path) => ownerOf(at).outside(at),
    secrets,
    problems,
    read: (name: string) => fileText(resolve(dirname(path), name), onRead),
  };
  if (!value) return merged;
  for (const file of includedFiles()) {
    const tree = prepared(readTree(file, relative(process.cwd(), file), environment, onRead));
    for (const one of tree.problems) problems.push(one);
    for (const one of tree.secrets) secrets.push(one);
    if (tree.value) take(value, tree.value, [], tree);
  }
  return merged;

  /** Each once, and never the main file itself, however many globs match it. */
  function includedFiles(): ReadonlySet<string> {
    const included = new Set<string>();
    const include = value?.['include'];
    for (const [index, pattern] of Array.isArray(include) ? include.entries() : []) {
      if (typeof pattern !== 'string') continue; // The schema says so.
      try {
        const found = globSync(pattern, { cwd: dirname(path) }).map((file) => resolve(dirname(path), file));
        globs.set(pattern, found.toSorted());
        if (found.length === 0)
          problems.push(warning(['include', index], 'empty-include', `no file matches "${pattern}"`, main));
        for (const file of found.toSorted()) if (file !== path) included.add(file);
      } catch (error) {
        problems.push(problem(['include', index], messageOf(error), main));
      }
    }
    return included;
  }

  function take(into: Record<string, unknown>, from: Record<string, unknown>, at: Path, tree: Tree): void {
    for (const [key, part] of Object.entries(from)) {
      const path = [...at, key];
      const inside = mergeable.some(
        (one) => one.length > path.length && keyOf(one.slice(0, path.length)) === keyOf(path),
      );
      if (!inside && !mergeable.some((one) => keyOf(one) === keyOf(path))) {
        const may = mergeable.map((one) => one.join('.')).join(', ');
        problems.push(problem(path, `an included file may hold ${may} only`, tree));
        continue;
      }
      if (!isMap(part)) {
        problems.push(problem(path, 'expected a map of names', tree));
        continue;
      }
      const present = (into[key] ??= {});
      if (!isMap(present)) continue; // The schema tells about what stands in the main file.
      if (inside) take(present, part, path, tree);
      else takeNames(present, part, path, tree);
    }
  }

  function takeNames(into: Record<string, unknown>, from: Record<string, unknown>, at: Path, tree: Tree): void {
    for (const [name, entry] of Object.entries(from)) {
      const path = [...at, name];
      if (Object.hasOwn(into, name)) {
        const first = merged.place(path);
        const where = first ? `${first.file}:${first.line}:${first.column}` : shown;
        problems.push(problem(path, `is already defined at ${where}`, tree));
        continue;
      }
      into[name] = entry;
      owners.set(keyOf(path), tree);
    }
  }
}

/** The tree with `triggers` under the name of connectors, and without the sections that nothing stands in. */
function prepared(tree: Tree): Tree {
  if (!tree.value) return tree;
  const value = Object.fromEntries(Object.entries(tree.value).filter(([, part]) => part !== null));
  if (!Object.hasOwn(value, 'triggers')) return { ...tree, value };
  const { triggers, ...rest } = value;
  if (Object.hasOwn(value, 'connectors')) {
    const text = 'is another word for connectors: use one of them';
    return { ...tree, value: rest, problems: [...tree.problems, problem(['triggers'], text, tree)] };
  }
  const written = (path: Path): Path => (path[0] === 'connectors' ? ['triggers', ...path.slice(1)] : path);
  return {
    ...tree,
    value: { ...rest, connectors: triggers },
    place: (path) => tree.place(written(path)),
    outside: (path) => tree.outside(written(path)),
  };
}
