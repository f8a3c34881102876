import type { Command } from 'commander';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { apiRoutes } from '../api/management.ts';
import { routesPage } from '../api/routes-page.ts';
import { generatedFiles } from '../config/reference.ts';
import type { TreeContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { cliPage } from './page.ts';

const root = join(import.meta.dirname, '../..');

export function registerGenerate(program: Command, { registry, tree }: TreeContext): void {
  program
    .command('generate', { hidden: true })
    .description('write the files that are made from the code')
    .option('--check', 'only tell which are out of date')
    .action(async ({ check }: { check?: boolean }) => {
      const stale: string[] = [];
      const files = {
        ...generatedFiles(await registry.all()),
        'docs/cli.md': cliPage(await tree()),
        'docs/routes.md': routesPage(apiRoutes),
      };
      for (const [file, text] of Object.entries(files)) {
        if (present(join(root, file)) === text) continue;
        stale.push(file);
        if (check) continue;
        mkdirSync(dirname(join(root, file)), { recursive: true });
        writeFileSync(join(root, file), text);
      }
      if (!check) return;
      for (const file of stale) console.error(`${file} is out of date: run npm run generate`);
      if (stale.length > 0) process.exitCode = exitCodes.failed;
    });
}

function present(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined; // Not written yet: as stale as can be.
  }
}
