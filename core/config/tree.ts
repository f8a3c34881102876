import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type Scalar } from 'yaml';
import { messageOf } from '../contracts/errors.ts';
import { interpolate } from './interpolate.ts';
import type { Place, Problem } from './problem.ts';

const maxBytes = 2 ** 20;
const maxDepth = 64;
const maxAliases = 100;
/** Names that mean something to JavaScript objects. */
const forbidden = new Set(['__proto__', 'constructor', 'prototype']);

export type Path = readonly (string | number)[];

/** A parsed file: plain data, with the place of every key. */
export interface Tree {
  readonly value: unknown;
  /** Undefined when nothing stands there. */
  place(path: Path): Place | undefined;
  /** Whether the scalar came from outside the file. */
  interpolated(path: Path): boolean;
  readonly problems: readonly Problem[];
}

const keyOf = (path: Path): string => path.join('\u0000');

/** Reads one YAML file. Never throws: what is wrong is in `problems`. `shown` is its name in messages. */
export function readTree(file: string, shown: string, environment: Readonly<Record<string, string | undefined>>): Tree {
  try {
    const { size } = statSync(file);
    if (size > maxBytes) return empty(shown, `the file has ${size} bytes; the limit is ${maxBytes}`);
    return parseTree(readFileSync(file, 'utf8'), shown, environment, dirname(file));
  } catch (error) {
    return empty(shown, `cannot be read: ${messageOf(error)}`);
  }
}

/** `folder`: where relative `${file:…}` are. */
export function parseTree(
  text: string,
  shown: string,
  environment: Readonly<Record<string, string | undefined>>,
  folder: string,
): Tree {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version: '1.2',
    merge: false,
    uniqueKeys: true,
    lineCounter: lines,
    prettyErrors: false,
  });
  const problems: Problem[] = [];
  const places = new Map<string, Place>([['', { file: shown, line: 1, column: 1 }]]);
  const outside = new Set<string>();
  let aliases = 0;

  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file: shown, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const add = (place: Place, path: Path, message: string): void => {
    problems.push({ ...place, path: path.join('.'), message, severity: 'error' });
  };
  for (const error of [...document.errors, ...document.warnings]) {
    add(placeAt(error.pos[0]), [], `YAML: ${error.message.split('\n')[0]}`);
  }
  if (problems.length > 0) return { value: undefined, place: () => undefined, interpolated: () => false, problems };

  const value = document.contents === null ? {} : walk(document.contents, []);
  if (problems.length === 0 && (typeof value !== 'object' || value === null || Array.isArray(value))) {
    add({ file: shown, line: 1, column: 1 }, [], 'expected a map of settings at the top of the file');
  }
  return {
    value,
    place: (path) => places.get(keyOf(path)),
    interpolated: (path) => outside.has(keyOf(path)),
    problems,
  };

  function walk(node: Node | null, path: Path): unknown {
    const place = placeAt(node?.range?.[0] ?? 0);
    if (!places.has(keyOf(path))) places.set(keyOf(path), place);
    if (path.length > maxDepth) {
      add(place, path.slice(0, 8), `nested deeper than ${maxDepth} levels`);
      return undefined;
    }
    if (isAlias(node)) {
      aliases++;
      if (aliases > maxAliases) {
        if (aliases === maxAliases + 1) add(place, path, `more than ${maxAliases} aliases`);
        return undefined;
      }
      return walk(node.resolve(document) ?? null, path);
    }
    if (isMap(node)) {
      const result: Record<string, unknown> = {};
      for (const pair of node.items) {
        const keyNode = pair.key as Node;
        const keyPlace = placeAt(keyNode?.range?.[0] ?? 0);
        const key = isScalar(keyNode) ? String(keyNode.value) : undefined;
        if (key === undefined || key === '<<') {
          add(keyPlace, path, key === '<<' ? 'merge keys are not supported' : 'a key must be a plain text');
          continue;
        }
        if (forbidden.has(key)) {
          add(keyPlace, [...path, key], 'this name is not allowed');
          continue;
        }
        const inner = [...path, key];
        places.set(keyOf(inner), keyPlace);
        result[key] = walk(pair.value as Node | null, inner);
      }
      return result;
    }
    if (isSeq(node)) return node.items.map((item, index) => walk(item as Node, [...path, index]));
    if (isScalar(node)) return scalar(node, path, place);
    return null;
  }

  function scalar(node: Scalar, path: Path, place: Place): unknown {
    if (typeof node.value !== 'string') return node.value;
    try {
      const { text: filled, changed, whole } = interpolate(node.value, environment, folder);
      if (changed) outside.add(keyOf(path));
      // `port: ${PORT:8080}` is a number, as it would be if 8080 stood there; quoted too, since in `{ }` it must be.
      return whole ? plainValue(filled) : filled;
    } catch (error) {
      add(place, path, messageOf(error));
      return undefined;
    }
  }
}

/** What an unquoted scalar of this text is: a number, true, false, null, or the text. */
function plainValue(text: string): unknown {
  if (/^[-+]?(0|[1-9]\d*)(\.\d+)?$/.test(text)) return Number(text);
  if (text === 'true' || text === 'false') return text === 'true';
  return text;
}

function empty(file: string, message: string): Tree {
  const problem: Problem = { file, line: 1, column: 1, path: '', message, severity: 'error' };
  return { value: undefined, place: () => undefined, interpolated: () => false, problems: [problem] };
}
