import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Handler } from '../../../plugins/providers/worker/api.ts';

const folder = resolve(import.meta.dirname, '..', process.env['DATA'] ?? 'data');
mkdirSync(folder, { recursive: true });
const database = new DatabaseSync(`${folder}/shipments.db`, { timeout: 5000 });
database.exec(`
  PRAGMA journal_mode = WAL;
  CREATE TABLE IF NOT EXISTS shipments (number INTEGER PRIMARY KEY, "order" TEXT UNIQUE, customer TEXT NOT NULL)`);
// An event may come twice; an order is shipped once.
const ship = database.prepare('INSERT INTO shipments ("order", customer) VALUES (?, ?) ON CONFLICT DO NOTHING');

/** Has an order that was charged shipped. */
export default ((event) => {
  const { id, customer } = event.json() as { id: string; customer: string };
  const { changes } = ship.run(id, customer);
  return { id, shipped: changes === 1 };
}) satisfies Handler;
