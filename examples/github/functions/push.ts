import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Handler } from '../../../plugins/providers/worker/api.ts';
import { notFor } from './event.ts';

interface Push {
  readonly ref: string;
  readonly after: string;
  readonly repository: { readonly full_name: string; readonly default_branch: string };
}

const wanted = resolve(import.meta.dirname, '..', process.env['DATA'] ?? 'data', 'wanted');

/** Notes which commit of a repository is to run, as `data/wanted/OWNER/NAME`, for whoever deploys it. */
export default ((event) => {
  const other = notFor('push', event);
  if (other) return other;
  const { ref, after, repository } = event.json() as Push;
  if (ref !== `refs/heads/${repository.default_branch}`) return { deployed: false, why: `${ref} is not deployed` };
  // It becomes a path.
  if (!/^[\w.-]+\/[\w.-]+$/.test(repository.full_name) || repository.full_name.includes('..'))
    return { status: 422, body: `no name of a repository: ${JSON.stringify(repository.full_name)}` };
  const file = `${wanted}/${repository.full_name}`;
  mkdirSync(resolve(file, '..'), { recursive: true });
  writeFileSync(`${file}.part`, `${after}\n`);
  renameSync(`${file}.part`, file);
  return { deployed: true, commit: after };
}) satisfies Handler;
