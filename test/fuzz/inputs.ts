import fc from 'fast-check';

/** Any text that UTF-8 can say, and what people get wrong: signs of other syntaxes, numbers at the edge, names of JavaScript's own. */
export const noise: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ maxLength: 40 }),
  fc.string({ unit: fc.constantFrom('\0', '\r', '\n', '%', '"', '\\', '{', '}', '[', ']', '.', ',', ':', '0', '-') }),
  fc.constantFrom(
    '',
    '__proto__',
    'constructor',
    'NaN',
    'Infinity',
    '-0',
    '1e999',
    '9'.repeat(400),
    '%',
    '%zz',
    '\u0000',
  ),
  fc.tuple(fc.constantFrom('a', '9', ' ', '.', '[', '%41'), fc.nat(300)).map(([text, count]) => text.repeat(count)),
);

type Edit =
  | { readonly kind: 'cut' | 'double'; readonly at: number; readonly length: number }
  | { readonly kind: 'insert'; readonly at: number; readonly text: string };

const at = fc.nat(10_000);
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ kind: fc.constantFrom('cut' as const, 'double' as const), at, length: fc.integer({ min: 1, max: 12 }) }),
  fc.record({ kind: fc.constant('insert' as const), at, text: fc.oneof(noise, fc.string({ maxLength: 2 })) }),
);

/** One of the samples, with up to four changes. */
export function nearly(...samples: readonly string[]): fc.Arbitrary<string> {
  return fc
    .tuple(fc.constantFrom(...samples), fc.array(edit, { maxLength: 4 }))
    .map(([sample, edits]) => edits.reduce(edited, sample));
}

function edited(text: string, change: Edit): string {
  const from = change.at % (text.length + 1);
  if (change.kind === 'insert') return text.slice(0, from) + change.text + text.slice(from);
  const piece = text.slice(from, from + change.length);
  return text.slice(0, from) + (change.kind === 'cut' ? '' : piece + piece) + text.slice(from + change.length);
}

/** The samples with bytes changed, left out and put in, and bytes that mean nothing. */
export function nearlyBytes(...samples: readonly Uint8Array[]): fc.Arbitrary<Buffer> {
  const change = fc.tuple(at, fc.constantFrom('set', 'cut', 'insert'), fc.uint8Array({ minLength: 1, maxLength: 8 }));
  const changed = fc
    .tuple(fc.constantFrom(...samples), fc.array(change, { maxLength: 4 }))
    .map(([sample, changes]) => changes.reduce(changedBytes, Buffer.from(sample)));
  return fc.oneof(
    { weight: 4, arbitrary: changed },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
  );
}

function changedBytes(bytes: Buffer, [where, kind, given]: readonly [number, string, Uint8Array]): Buffer {
  const from = where % (bytes.length + 1);
  const head = bytes.subarray(0, from);
  if (kind === 'insert') return Buffer.concat([head, given, bytes.subarray(from)]);
  return Buffer.concat([head, ...(kind === 'set' ? [given] : []), bytes.subarray(from + given.length)]);
}

/** What a header of HTTP may hold, as Node gives it. */
export const headerText: fc.Arbitrary<string> = fc
  .oneof(noise, fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCodePoint(code)) }))
  .map((text) => text.replaceAll(/[^\t\u0020-\u007e\u0080-\u00ff]/gu, ''));

/** JSON texts: valid ones, some of them deep, ones that are nearly valid, and noise. */
export const jsonText: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 4,
    arbitrary: nearly('{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":[1,{"b":"ü"}]}}'),
  },
  {
    weight: 4,
    arbitrary: fc.constantFrom('{"__proto__":{"polluted":true}}', '"\\ud800"', '{"\\ud800":1}', '1e999', '-0'),
  },
  { weight: 4, arbitrary: noise },
  { weight: 2, arbitrary: fc.json({ maxDepth: 2 }) },
  { weight: 1, arbitrary: fc.nat(1000).map((depth) => `${'['.repeat(depth)}1${']'.repeat(depth)}`) },
);
