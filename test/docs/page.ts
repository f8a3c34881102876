import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** A page of the documentation, as it is in the repository. */
export interface Page {
  /** From the root of the repository on. */
  readonly path: string;
  readonly text: string;
}

/** A fenced block: what a reader copies. */
export interface Block {
  /** Of its fence. */
  readonly line: number;
  readonly language: string;
  /** What follows the language; readers do not see it. */
  readonly word: string;
  readonly argument: string;
  readonly text: string;
}

/** For each language what may follow it, and whether that has an argument: `yaml file: millrace.yaml`. */
const words: Readonly<Record<string, Readonly<Record<string, boolean>>>> = {
  yaml: { '': false, part: false, file: true, of: true },
  ts: { '': false, file: true },
  js: { file: true },
  json: { file: true },
  sh: { '': false, gateway: true, serve: false, stopped: false, eventually: false, 'not-run': true },
  text: { '': false, output: false },
};

export function readPage(root: string, path: string): Page {
  return { path, text: readFileSync(join(root, path), 'utf8') };
}

/** The fenced blocks, and what is wrong with their first lines. */
export function blocksOf({ text }: Page): { readonly blocks: readonly Block[]; readonly problems: readonly string[] } {
  const blocks: Block[] = [];
  const problems: string[] = [];
  const lines = text.split('\n');
  for (let index = 0; index < lines.length; index++) {
    const [, indent = '', ticks = '', info = ''] = /^( *)(`{3,})(.*)$/.exec(lines[index] ?? '') ?? [];
    if (ticks === '') continue;
    const from = index + 1;
    const isEnd = (line: string | undefined): boolean => line === undefined || line.trim() === ticks;
    for (index++; !isEnd(lines[index]); index++);
    const content = lines.slice(from, index).map((line) => line.slice(Math.min(indent.length, line.search(/\S|$/))));
    const [, language = '', word = '', argument = ''] = /^(\w*) ?([\w-]*)(?:: (.+))?$/.exec(info.trim()) ?? [];
    const takesArgument = words[language]?.[word];
    if (takesArgument === undefined || takesArgument !== (argument !== '')) {
      problems.push(`${from}: nobody knows what is to be done with a block "${info.trim()}": see CONTRIBUTING.md`);
    }
    blocks.push({ line: from, language, word, argument, text: `${content.join('\n')}\n` });
  }
  return { blocks, problems };
}

/** Links to what is not there. `page` gives a page of that path, undefined where there is none. */
export function brokenLinks(page: Page, find: (path: string) => Page | 'a file' | undefined): readonly string[] {
  const problems: string[] = [];
  for (const [index, line] of prose(page.text).entries()) {
    for (const [, target = ''] of line.matchAll(/\]\(([^()\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [file = '', anchor] = target.split('#');
      const path = file === '' ? page.path : normalize(join(dirname(page.path), file)).replace(/\/$/, '');
      const found = file === '' ? page : find(path);
      if (!found) problems.push(`${index + 1}: ${target}: there is no ${path}`);
      else if (anchor !== undefined && (found === 'a file' || !anchorsOf(found).has(anchor)))
        problems.push(`${index + 1}: ${target}: ${path} has no heading of that name`);
    }
  }
  return problems;
}

/** The lines, with what is code left empty. */
function prose(text: string): string[] {
  let fence = '';
  return text.split('\n').map((line) => {
    const [, ticks = ''] = /^ *(`{3,})/.exec(line) ?? [];
    if (fence !== '') {
      if (line.trim() === fence) fence = '';
      return '';
    }
    fence = ticks;
    return ticks === '' ? line.replaceAll(/`[^`]*`/g, '') : '';
  });
}

/** As GitHub makes them of headings. */
function anchorsOf({ text }: Page): ReadonlySet<string> {
  const anchors = new Set<string>();
  // Headings keep the words of their code.
  const code = prose(text);
  for (const [index, line] of text.split('\n').entries()) {
    const [, heading] = /^#{1,6} (.+)$/.exec(line) ?? [];
    if (heading === undefined || code[index] === '') continue;
    const plain = heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const slug = plain.replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').replaceAll(' ', '-');
    let name = slug;
    for (let copy = 1; anchors.has(name); copy++) name = `${slug}-${copy}`;
    anchors.add(name);
  }
  return anchors;
}
