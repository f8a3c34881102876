import { dirname } from 'node:path';
import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  type Scalar,
  YAMLParseError,
} from 'yaml';
import { messageOf } from '../contracts/errors.ts';
import { type OnRead, readText } from './bounded-file.ts';
import { interpolate } from './interpolate.ts';
import type { Place, Problem } from './problem.ts';

const maxBytes = 2 ** 20;
const maxDepth = 64;
const maxAliases = 100;
/** Aliases included: without a bound, 100 aliases of a list of 1 MiB make a hundred of it. */
const maxNodes = 200_000;
const maxKeyLength = 256;
/** Of a file that is no YAML at all, the first complaints say it; the others are about its consequences. */
const maxSyntaxProblems = 3;
/** Names that mean something to JavaScript objects. */
const forbidden = new Set(['__proto__', 'constructor', 'prototype']);

export type Path = readonly (string | number)[];
export type Environment = Readonly<Record<string, string | undefined>>;

/** A parsed file: plain data, with the place of every key. */
export interface Tree {
  /** Undefined when the file is not fit to be looked at further. */
  readonly value: Record<string, unknown> | undefined;
  /** Undefined when nothing stands there. */
  place(path: Path): Place | undefined;
  /** What stands there, as text, if it came from outside the file. */
  outside(path: Path): string | undefined;
  /** What `${file:…}` put in. */
  readonly secrets: readonly string[];
  readonly problems: readonly Problem[];
}

/** Where one value stands. The shape follows the data, so that long keys are kept once. */
interface Spot {
  offset: number;
  outside?: string;
  inner?: Map<string | number, Spot>;
}

/** Reads one YAML file. Never throws: what is wrong is in `problems`. `shown` is its name in messages. */
export function readTree(file: string, shown: string, environment: Environment, onRead?: OnRead): Tree {
  try {
    return parseTree(readText(file, maxBytes, onRead), shown, environment, dirname(file), onRead);
  } catch (error) {
    return empty(shown, `cannot be read: ${messageOf(error)}`);
  }
}

/** `folder`: where relative `${file:…}` are. */
export function parseTree(
  text: string,
  shown: string,
  environment: Environment,
  folder: string,
  onRead?: OnRead,
): Tree {
  const lines = new LineCounter();
  const document = documentOf(text, lines);
  if (!document) return empty(shown, `nested deeper than ${maxDepth} levels`);
  const problems: Problem[] = [];
  const secrets: string[] = [];
  const top: Spot = { offset: 0 };
  const anchors = new Map<string, Node>();
  const open = new Set<Node>();
  let aliases = 0;
  let nodes = 0;
  /** Set once a limit is passed: nothing more is read. */
  let stopped = false;

  for (const error of [...document.errors, ...document.warnings].slice(0, maxSyntaxProblems)) {
    const line = text.split('\n')[placeAt(error.pos[0]).line - 1] ?? '';
    const hint = /[{[].*[^"']\$\{/.test(line) ? '; inside { } and [ ] a reference is quoted: "${VAR}"' : '';
    add(error.pos[0], [], `YAML: ${syntaxMessage(error.message)}${hint}`);
    if (hint !== '') break; // What follows comes of it.
  }
  if (problems.length === 0 && document.directives.yaml.version !== '1.2') {
    add(0, [], `YAML ${document.directives.yaml.version} is not supported: the format is YAML 1.2`);
  }
  if (problems.length > 0) return { ...empty(shown, ''), problems };

  const value = document.contents === null ? {} : read(document.contents, [], top);
  if (!stopped && (typeof value !== 'object' || value === null || Array.isArray(value))) {
    stop(0, [], 'expected a map of settings at the top of the file');
  }
  return {
    value: stopped ? undefined : (value as Record<string, unknown>),
    place: (path) => {
      const spot = spotAt(path);
      return spot && placeAt(spot.offset);
    },
    outside: (path) => spotAt(path)?.outside,
    secrets,
    problems,
  };

  function placeAt(offset: number): Place {
    const { line, col } = lines.linePos(offset);
    return { file: shown, line: Math.max(1, line), column: Math.max(1, col) };
  }

  function spotAt(path: Path): Spot | undefined {
    let spot: Spot | undefined = top;
    for (const key of path) spot = spot?.inner?.get(key);
    return spot;
  }

  function add(offset: number, path: Path, message: string): void {
    problems.push({ ...placeAt(offset), path: path.join('.'), message, severity: 'error' });
  }

  function stop(offset: number, path: Path, message: string): void {
    stopped = true;
    add(offset, path.slice(0, 8), message);
  }

  function read(node: Node | null, path: Path, spot: Spot): unknown {
    if (stopped) return undefined;
    const offset = node?.range?.[0] ?? spot.offset;
    if (++nodes > maxNodes) stop(offset, path, `more than ${maxNodes} values`);
    else if (path.length > maxDepth) stop(offset, path, `nested deeper than ${maxDepth} levels`);
    if (stopped || node === null) return null;
    if (isAlias(node)) {
      const target = anchors.get(node.source);
      if (++aliases > maxAliases) stop(offset, path, `more than ${maxAliases} aliases`);
      else if (!target) add(offset, path, `no anchor &${node.source} stands before this alias`);
      else if (open.has(target)) add(offset, path, `&${node.source} would hold itself`);
      else return read(target, path, spot);
      return undefined;
    }
    if (node.anchor !== undefined) anchors.set(node.anchor, node);
    open.add(node);
    try {
      if (isMap(node)) return readMap(node.items, path, spot);
      if (isSeq(node)) {
        spot.inner = new Map();
        return node.items.map((item, index) => {
          const inner: Spot = { offset: (item as Node | null)?.range?.[0] ?? offset };
          spot.inner?.set(index, inner);
          return read(item as Node | null, [...path, index], inner);
        });
      }
      return isScalar(node) ? readScalar(node, path, spot) : null;
    } finally {
      open.delete(node);
    }
  }

  function readMap(items: readonly { key: unknown; value: unknown }[], path: Path, spot: Spot): unknown {
    const result: Record<string, unknown> = {};
    const inner = new Map<string | number, Spot>();
    spot.inner = inner;
    for (const { key: keyNode, value: valueNode } of items) {
      const offset = (keyNode as Node | null)?.range?.[0] ?? spot.offset;
      const key = keyText(keyNode);
      if (key === undefined || key.length > maxKeyLength) {
        add(offset, path, `a key must be a plain text of at most ${maxKeyLength} characters`);
      } else if (key === '<<') {
        add(offset, path, 'merge keys are not supported');
      } else if (forbidden.has(key)) {
        add(offset, [...path, key], 'this name is not allowed');
      } else if (inner.has(key)) {
        const { line, column } = placeAt(inner.get(key)?.offset ?? 0);
        add(offset, [...path, key], `is already defined at ${shown}:${line}:${column}`);
      } else {
        const own: Spot = { offset };
        inner.set(key, own);
        result[key] = read(valueNode as Node | null, [...path, key], own);
      }
    }
    return result;
  }

  function readScalar(node: Scalar, path: Path, spot: Spot): unknown {
    if (typeof node.value !== 'string') return node.value;
    if (!node.value.includes('${')) return node.value;
    try {
      const filled = interpolate(node.value, environment, folder, onRead);
      secrets.push(...filled.secrets);
      if (filled.changed) spot.outside = filled.text;
      // `port: ${PORT:8080}` is a number, as it would be if 8080 stood there; quoted too, since in `{ }` it must be.
      return filled.whole ? plainValue(filled.text) : filled.text;
    } catch (error) {
      add(node.range?.[0] ?? spot.offset, path, messageOf(error));
      return undefined;
    }
  }
}

/** As `parseDocument` of the library, in one reading of the text; undefined when it nests too deep. */
function documentOf(source: string, lines: LineCounter): Document.Parsed | undefined {
  // Its check of keys compares every one with every other one; `readMap` does it in one go.
  const composer = new Composer({ version: '1.2', merge: false, uniqueKeys: false, prettyErrors: false });
  const nesting = new Nesting();
  const [document, another] = composer.compose(tokensOf(source, lines, nesting), true, source.length);
  if (nesting.isTooDeep) return undefined;
  if (another) {
    const [from, to] = another.range;
    const text = 'a second document begins here; a file is one document, without "---" in it';
    document?.errors.push(new YAMLParseError([from, to], 'MULTIPLE_DOCS', text));
  }
  return document;
}

/** Ends early when the text nests too deep: what comes after calls itself for each level, and takes minutes to find that it cannot. */
function* tokensOf(text: string, lines: LineCounter, nesting: Nesting): Generator<CST.Token> {
  const parser = new Parser(lines.addNewLine);
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    nesting.add(lexeme);
    if (nesting.isTooDeep) return;
    yield* parser.next(lexeme);
  }
  yield* parser.end();
}

class Nesting {
  isTooDeep = false;
  #brackets = 0;
  #dashes = 0;
  #isScalarNext = false;

  add(lexeme: string): void {
    if (this.#isScalarNext) this.#isScalarNext = false;
    else if (lexeme === '\u001f') this.#isScalarNext = true;
    else if (lexeme === '[' || lexeme === '{') this.#brackets++;
    else if (lexeme === ']' || lexeme === '}') this.#brackets--;
    else if (lexeme === '-' || lexeme === '?') this.#dashes++;
    else if (lexeme.includes('\n')) this.#dashes = 0;
    this.isTooDeep = this.#brackets > maxDepth || this.#dashes > maxDepth;
  }
}

/** A key as it was written: `1.10` is no 1.1. */
function keyText(node: unknown): string | undefined {
  if (!isScalar(node) || node.value === null) return undefined;
  return typeof node.value === 'string' ? node.value : node.source;
}

/** What an unquoted scalar of this text is: a number, true, false, or the text. */
function plainValue(text: string): unknown {
  if (/^[-+]?(0|[1-9]\d*)(\.\d+)?$/.test(text)) return Number(text);
  if (text === 'true' || text === 'false') return text === 'true';
  return text;
}

function syntaxMessage(message: string): string {
  if (message.includes('call stack')) return `nested deeper than ${maxDepth} levels`;
  return message.split('\n')[0] ?? message;
}

function empty(file: string, message: string): Tree {
  const problem: Problem = { file, line: 1, column: 1, path: '', message, severity: 'error' };
  return { value: undefined, place: () => undefined, outside: () => undefined, secrets: [], problems: [problem] };
}
