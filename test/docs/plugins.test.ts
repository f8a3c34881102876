import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readersFolder } from './examine.ts';
import { blocksOf, readPage } from './page.ts';

const root = join(import.meta.dirname, '../..');

// The suite that a page has its reader run over his plugin becomes a part of this file.
for (const path of ['docs/write-a-connector.md', 'docs/write-a-queue.md', 'docs/write-a-provider.md']) {
  const folder = readersFolder();
  const files = blocksOf(readPage(root, path)).blocks.filter(
    ({ language, word }) => language === 'ts' && word === 'file',
  );
  for (const { argument, text } of files) writeFileSync(join(folder, argument), text);
  const suite = files.find(({ argument }) => argument.endsWith('.test.ts'));
  if (!suite) throw new Error(`${path} has no suite`);
  await import(join(folder, suite.argument));
}
