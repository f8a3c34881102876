import { appendFileSync, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Handler } from '../../../plugins/providers/worker/api.ts';

const folder = resolve(import.meta.dirname, '..', process.env['DATA'] ?? 'data');
mkdirSync(folder, { recursive: true });

/** Tells the team: here by a line of `data/notices.ndjson`; a chat would be a POST, tried again like anything else. */
export default ((event) => {
  // Of pings, and of issues that are not urgent.
  if (event.headers['content-type'] !== 'application/json') return;
  appendFileSync(`${folder}/notices.ndjson`, `${JSON.stringify({ id: event.id, ...(event.json() as object) })}\n`);
}) satisfies Handler;
