import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * `npm run sbom [-- FILE]`: the software bill of materials of a release (CycloneDX, `sbom.json`): what `npm install millrace`
 * brings, at the versions of the lockfile. `npm sbom --omit=dev` by itself leaves out every package that a tool of ours needs
 * too, so that the tools are taken out of a copy of the manifest first. No network.
 */
const root = join(import.meta.dirname, '..');
const [, , file = 'sbom.json'] = process.argv;
const folder = mkdtempSync(join(tmpdir(), 'millrace-sbom-'));
try {
  const { devDependencies: _, ...manifest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as object & {
    devDependencies: unknown;
  };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
  copyFileSync(join(root, 'package-lock.json'), join(folder, 'package-lock.json'));
  npm('install', '--package-lock-only', '--ignore-scripts', '--offline');
  writeFileSync(file, npm('sbom', '--package-lock-only', '--sbom-format=cyclonedx', '--sbom-type=application'));
} finally {
  rmSync(folder, { recursive: true });
}

function npm(...args: readonly string[]): Buffer {
  return execFileSync('npm', args, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
}
