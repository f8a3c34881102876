import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const names = globSync('examples/*/millrace.yaml', { cwd: root }).map((file) =>
  dirname(file).slice('examples/'.length),
);
const page = readFileSync(join(root, 'examples/README.md'), 'utf8');

it('are found', () => expect(names).toContain('orders'));

it.each(names)('the example %s has a README, a test, and a row in the table of all', (name) => {
  const readme = readFileSync(join(root, 'examples', name, 'README.md'), 'utf8');
  expect(readme).toContain(`npm start -- --config examples/${name}/millrace.yaml`);
  expect(existsSync(join(root, `test/examples/${name}.test.ts`))).toBe(true);
  expect(page).toContain(`| [${name}](${name}/README.md) |`);
});

it('each file that a README names is there', () => {
  for (const name of names) {
    const readme = readFileSync(join(root, 'examples', name, 'README.md'), 'utf8');
    const files = readme.match(/\b(?:examples|config)\/[\w./-]+\.(?:ts|json|ndjson|csv|jpg|png|yaml)\b/g) ?? [];
    for (const file of files.filter((file) => !file.includes('/data/'))) {
      expect(existsSync(join(root, file)), `${name}: ${file}`).toBe(true);
    }
  }
});
