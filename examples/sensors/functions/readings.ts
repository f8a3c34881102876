import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** Opens the database of readings, and makes it where it is not there yet. */
export function openReadings(): DatabaseSync {
  const folder = resolve(import.meta.dirname, '..', process.env['DATA'] ?? 'data');
  mkdirSync(folder, { recursive: true });
  const database = new DatabaseSync(`${folder}/readings.db`, { timeout: 5000 });
  database.exec(`
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS readings (
      sensor TEXT, at TEXT, celsius REAL NOT NULL, PRIMARY KEY (sensor, at)
    ) WITHOUT ROWID`);
  return database;
}
