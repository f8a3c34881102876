import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { StoreRecord } from '../../../core/contracts/store.ts';
import type { FromThread, Operation, Result, ToThread } from './protocol.ts';

/** The version of the tables below. A file with a higher one was written by a newer release. */
const schemaVersion = 1;

/** "MRst" in the file's header: tells our files from those of other programs. */
const applicationId = 0x4d52_7374;

/** Of what has expired, removed in one batch at most: the batch must stay short. */
const sweepLimit = 1000;

const schema = `
  CREATE TABLE records (key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL, expires_at REAL) STRICT;
  CREATE INDEX records_by_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;
  CREATE TABLE counter (version INTEGER NOT NULL) STRICT;
  INSERT INTO counter VALUES (0);
`;

class Records {
  readonly #database: DatabaseSync;
  readonly #statements;
  /** Never used twice, so that a writer who missed a deletion cannot take a new record for its own. */
  #version: number;

  constructor(path: string) {
    this.#database = open(path);
    this.#statements = {
      get: this.#database.prepare(
        'SELECT value, version FROM records WHERE key = ? AND (expires_at IS NULL OR expires_at > ?)',
      ),
      put: this.#database.prepare(
        'INSERT OR REPLACE INTO records (key, value, version, expires_at) VALUES (?, ?, ?, ?)',
      ),
      delete: this.#database.prepare('DELETE FROM records WHERE key = ? AND (expires_at IS NULL OR expires_at > ?)'),
      listFrom: this.#database.prepare(
        'SELECT key FROM records WHERE key >= ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY key',
      ),
      listAfter: this.#database.prepare(
        'SELECT key FROM records WHERE key > ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY key',
      ),
      sweep: this.#database.prepare(
        'DELETE FROM records WHERE rowid IN (SELECT rowid FROM records WHERE expires_at <= ? LIMIT ?)',
      ),
      counter: this.#database.prepare('UPDATE counter SET version = ?'),
    };
    this.#version = (this.#database.prepare('SELECT version FROM counter').get() as { version: number }).version;
  }

  run(operations: readonly Operation[]): Result[] {
    const before = this.#version;
    this.#database.exec('BEGIN');
    try {
      const results = operations.map((operation) => this.#run(operation));
      if (this.#version !== before) this.#statements.counter.run(this.#version);
      this.#database.exec('COMMIT');
      return results;
    } catch (error) {
      // A full disk may have ended the transaction already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  close(): void {
    this.#database.close();
  }

  #run(operation: Operation): Result {
    const { get, put, delete: remove, sweep } = this.#statements;
    switch (operation.kind) {
      case 'get':
        return this.#get(operation.key, operation.now);
      case 'put': {
        const { key, value, now, expiresAt, ifVersion } = operation;
        if (ifVersion !== undefined) {
          const present = (get.get(key, now) as StoreRecord | undefined)?.version ?? 0;
          if (ifVersion !== present) return undefined;
        }
        put.run(key, value, ++this.#version, expiresAt ?? null);
        return this.#version;
      }
      case 'delete':
        return remove.run(operation.key, operation.now).changes > 0;
      case 'list':
        return this.#list(operation);
      case 'sweep':
        return Number(sweep.run(operation.now, sweepLimit).changes);
      default:
        throw new Error('no such operation');
    }
  }

  #get(key: string, now: number): StoreRecord | undefined {
    const row = this.#statements.get.get(key, now) as StoreRecord | undefined;
    return row && { value: row.value, version: row.version };
  }

  /** Reads on from the prefix until a key does not have it: an upper bound cannot be written for every prefix. */
  #list({ prefix, limit, after, now }: Extract<Operation, { kind: 'list' }>): string[] {
    const keys: string[] = [];
    if (limit <= 0) return keys;
    const { listFrom, listAfter } = this.#statements;
    const goesOn = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(prefix)) >= 0;
    const rows = goesOn ? listAfter.iterate(after, now) : listFrom.iterate(prefix, now);
    for (const row of rows) {
      const key = (row as { key: string }).key;
      if (!key.startsWith(prefix) || keys.push(key) >= limit) break;
    }
    return keys;
  }
}

/** Opens the file for this process alone; throws when that cannot be, or the file is not what we know. */
function open(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    // Before anything reads the file: WAL then keeps its index in memory, and the lock until the file is closed.
    database.exec('PRAGMA locking_mode = EXCLUSIVE');
    database.exec('PRAGMA journal_mode = WAL');
    database.exec('PRAGMA synchronous = FULL');
    database.exec('BEGIN IMMEDIATE');
    const version = pragma(database, 'user_version');
    const owner = pragma(database, 'application_id');
    const empty = database.prepare('SELECT count(*) AS tables FROM sqlite_schema').get()?.['tables'] === 0;
    if (empty && version === 0) {
      database.exec(schema);
      database.exec(`PRAGMA application_id = ${applicationId}`);
      database.exec(`PRAGMA user_version = ${schemaVersion}`);
    } else if (owner !== applicationId) {
      throw new Error('it is a database of another program');
    } else if (version > schemaVersion) {
      throw new Error(`it has format ${version}, written by a newer release; this one knows ${schemaVersion}`);
    }
    database.exec('COMMIT');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function explain(error: unknown): string {
  const { errcode } = error as { errcode?: unknown };
  if (errcode === 5 || errcode === 261) return 'another process holds it'; // SQLITE_BUSY, SQLITE_BUSY_RECOVERY
  return error instanceof Error ? error.message : String(error);
}

function main(): void {
  const port = parentPort;
  if (!port) throw new Error('this file runs in a worker thread');
  const answer = (message: FromThread): void => port.postMessage(message);
  let records: Records;
  try {
    records = new Records((workerData as { path: string }).path);
  } catch (error) {
    answer({ kind: 'failed', message: explain(error) });
    return;
  }
  port.on('message', (message: ToThread) => {
    if (message.kind === 'close') {
      records.close();
      port.close();
      return;
    }
    try {
      answer({ kind: 'done', results: records.run(message.operations) });
    } catch (error) {
      answer({ kind: 'failed', message: explain(error) });
    }
  });
  answer({ kind: 'opened' });
}

main();
