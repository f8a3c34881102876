import { globSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { examine, readersFolder, typeErrorsIn } from './examine.ts';
import { describeWithBroker } from '../support/with-broker.ts';
import { brokenLinks, type Page, readPage } from './page.ts';

const root = join(import.meta.dirname, '../..');
const paths = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'deploy/README.md',
  'test/conformance/README.md',
  ...globSync('docs/**/*.md', { cwd: root }).toSorted(),
];
/** Those that need a NATS server. */
const overNats = ['docs/start.md'];
const folders: string[] = [];

async function works(path: string, signal: AbortSignal, places: Readonly<Record<string, string>> = {}): Promise<void> {
  const page = readPage(root, path);
  const folder = readersFolder();
  folders.push(folder);
  expect([...brokenLinks(page, find), ...(await examine(page, folder, { places, signal }))]).toEqual([]);
}

function find(path: string): Page | 'a file' | undefined {
  const stat = statSync(join(root, path), { throwIfNoEntry: false });
  if (!stat) return undefined;
  return stat.isFile() && path.endsWith('.md') ? readPage(root, path) : 'a file';
}

await describeWithBroker('nats', 'each page over NATS', (url) => {
  const { hostname, port } = new URL(url);
  const places = { '127.0.0.1:4222': `${hostname}:${port}`, '127.0.0.1/4222': `${hostname}/${port}` };
  it.for(overNats)(
    '%s: every block of it works, and every link leads somewhere',
    { timeout: 120_000 },
    (path, { signal }) => works(path, signal, places),
  );
});

describe('each page', () => {
  const others = paths.filter((path) => !overNats.includes(path));
  it.for(others)(
    '%s: every block of it works, and every link leads somewhere',
    { timeout: 120_000 },
    (path, { signal }) => works(path, signal),
  );
  it('has TypeScript that compiles', { timeout: 120_000 }, async () => {
    expect(await typeErrorsIn(folders)).toBe('');
  });
});

it('each page is on the map, docs/README.md', () => {
  const map = readPage(root, 'docs/README.md').text;
  const pages = globSync('*.md', { cwd: join(root, 'docs') }).filter((name) => name !== 'README.md');
  expect(pages.filter((name) => !map.includes(`](${name})`))).toEqual([]);
});

describe('a page that is wrong is found out:', () => {
  const fenced = (info: string, text: string): string => `\n\`\`\`${info}\n${text}\n\`\`\`\n`;
  const served = `${fenced('yaml file: millrace.yaml', 'functions: { hello: { module: ./hello.ts } }')}${fenced(
    'ts file: hello.ts',
    "export default () => 'hello';",
  )}${fenced('sh serve', `node ${root}/core/main.ts serve --config millrace.yaml`)}`;
  const wrong: Readonly<Record<string, readonly [text: string, problem: RegExp]>> = {
    'a setting that is not there': [fenced('yaml', 'functions: { a: { modul: ./a.ts } }'), /^2: .*modul: unknown key/s],
    'a part of a configuration that does not fit': [
      fenced('yaml part', 'gateway: { listen: { port: all } }'),
      /^2: .*port: expected/s,
    ],
    'a command that does not exist': [fenced('sh', 'true\nmillrace-cli start'), /^2: ended with 127: millrace-cli/],
    'an answer that is an error': [
      `${served}${fenced('sh', 'curl http://127.0.0.1:8080/function/hallo')}`,
      /^14: ended with 22: .*function\.missing/s,
    ],
    'a gateway that does not start': [
      served.replace('functions:', 'queues: { default: { kind: memory } }\nfunctions:'),
      /^11: ended with 1: .*allowVolatile/s,
    ],
    'an output that is another': [
      `${fenced('sh', 'echo 1 and 2')}${fenced('text output', '1 and 3')}`,
      /^2: wrote something else .*1 and 2/s,
    ],
    'an output that nothing writes': [
      `${fenced('sh not-run: never', 'x')}${fenced('text output', 'y')}`,
      /^6: is the output of nothing/,
    ],
    'a block of which nobody knows what it is': [fenced('', 'x'), /^2: nobody knows/],
    'a word that means nothing': [fenced('sh not-run', 'x'), /^2: nobody knows/],
  };
  it.for(Object.entries(wrong))('%s', { timeout: 60_000 }, async ([, [text, problem]], { signal }) => {
    const found = await examine({ path: 'docs/planted.md', text }, readersFolder(), { signal });
    expect(found).toEqual([expect.stringMatching(problem)]);
  });
  it('a command that does not end, which ends with its test', { timeout: 60_000 }, async () => {
    const page = { path: 'docs/planted.md', text: fenced('sh', 'echo begun\nsleep 1000') };
    const found = await examine(page, readersFolder(), { signal: AbortSignal.timeout(500) });
    expect(found).toEqual([expect.stringMatching(/^2: ended with 1: sleep 1000/)]);
  });
  it('links that lead nowhere', () => {
    const links = '[a](none.md) [b](#none) [c](auth.md#none) `[d](none.md)`\n# One `two`, three\n[e](#one-two-three)';
    expect(brokenLinks({ path: 'docs/planted.md', text: links }, find)).toEqual([
      '1: none.md: there is no docs/none.md',
      '1: #none: docs/planted.md has no heading of that name',
      '1: auth.md#none: docs/auth.md has no heading of that name',
    ]);
  });
  it('TypeScript that does not compile', { timeout: 60_000 }, async ({ signal }) => {
    const folder = readersFolder();
    const text = fenced('ts', "import { defineQueues } from 'millrace';");
    expect(await examine({ path: 'docs/planted.md', text }, folder, { signal })).toEqual([]);
    expect(await typeErrorsIn([folder])).toContain(
      'block-2.ts(1,10): error TS2724: \'"millrace"\' has no exported member',
    );
  });
});
