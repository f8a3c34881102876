import { DatabaseSync } from 'node:sqlite';
import { MillraceError, messageOf } from '../../../core/contracts/errors.ts';
import { planted } from '../../../core/delivery/failpoint.ts';

/** For the test of power cuts only: commits without waiting for the disk, and must be found out. */
const flushless = planted('commit-without-flush');

/** The version of the tables below. A file with a higher one was written by a newer release. */
export const schemaVersion = 2;

/** "MRqu" in the file's header: tells our files from those of other programs. */
const applicationId = 0x4d52_7175;

/**
 * `message.state`. Up to `leased` it is unsettled; the others are final. The numbers are in the partial indexes below
 * and in the files of our users.
 */
export const state = {
  ready: 0,
  blocked: 1,
  delayed: 2,
  leased: 3,
  succeeded: 4,
  dead: 5,
  expired: 6,
  cancelled: 7,
} as const;

/**
 * Narrow rows that change in `message`, wide ones that are written once in `content`. Each state has an index of its
 * own, so that none is slowed by the size of another. Times are queue time, but for those that end in `_at`.
 */
const schema = `
  CREATE TABLE lane (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, paused INTEGER NOT NULL DEFAULT 0, time INTEGER NOT NULL,
    ready INTEGER NOT NULL DEFAULT 0, blocked INTEGER NOT NULL DEFAULT 0, delayed INTEGER NOT NULL DEFAULT 0,
    leased INTEGER NOT NULL DEFAULT 0, letters INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
    accepted INTEGER NOT NULL DEFAULT 0, succeeded INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, retried INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0
  ) STRICT;

  CREATE TABLE message (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, lane INTEGER NOT NULL, state INTEGER NOT NULL,
    rank INTEGER NOT NULL, due INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL, result_ttl INTEGER NOT NULL, bytes INTEGER NOT NULL,
    order_key TEXT, expires INTEGER, cancel INTEGER, started_at INTEGER, finished_at INTEGER,
    result_until INTEGER, until INTEGER, reason TEXT
  ) STRICT;
  CREATE UNIQUE INDEX message_by_id ON message (id);
  CREATE INDEX message_ready ON message (lane, rank) WHERE state = 0;
  CREATE INDEX message_waiting ON message (lane, due) WHERE state = 0;
  CREATE INDEX message_delayed ON message (due) WHERE state = 2;
  CREATE INDEX message_leased ON message (lane) WHERE state = 3;
  CREATE INDEX message_keyed ON message (lane, order_key) WHERE order_key IS NOT NULL AND state < 4;
  CREATE INDEX message_expiring ON message (expires) WHERE expires IS NOT NULL AND state < 3;
  CREATE INDEX message_ended ON message (until) WHERE until IS NOT NULL;

  CREATE TABLE content (
    seq INTEGER PRIMARY KEY, text TEXT NOT NULL, text_sum INTEGER NOT NULL, body_sum INTEGER NOT NULL, body BLOB
  ) STRICT;

  CREATE TABLE attempt_error (
    seq INTEGER NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL, at INTEGER NOT NULL,
    code TEXT NOT NULL, message TEXT NOT NULL, status INTEGER, PRIMARY KEY (seq, number)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE result (
    seq INTEGER PRIMARY KEY, until INTEGER NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL,
    sum INTEGER NOT NULL, body BLOB NOT NULL
  ) STRICT;
  CREATE INDEX result_by_end ON result (until);

  CREATE TABLE letter (
    number INTEGER PRIMARY KEY, seq INTEGER NOT NULL UNIQUE, lane INTEGER NOT NULL, reason TEXT NOT NULL,
    died INTEGER NOT NULL, died_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX letter_by_lane ON letter (lane);

  CREATE TABLE dedup (
    lane INTEGER NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (lane, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX dedup_by_end ON dedup (until);
`;

/** `migrations[n]` leads from version n + 1 to n + 2. */
const migrations: readonly string[] = [
  // The tables are the same. Sums of 2 begin to say whose they are (sums.ts); to a release that knows 1 they would be wrong.
  '',
];

/** A file of up to so many bytes is looked through when it is opened, which takes some 0.2 s at most. */
const lookThrough = 64 * 2 ** 20;

/** Opens the file for this process alone. Throws a MillraceError when that cannot be, or the file is not ours. */
export function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    // Before anything reads the file: WAL then keeps its index in memory, and the lock until the file is closed.
    database.exec('PRAGMA locking_mode = EXCLUSIVE');
    claim(database, path);
    // Acknowledged means synced: NORMAL would lose the last commits when the power fails.
    database.exec(`PRAGMA synchronous = ${flushless ? 'OFF' : 'FULL'}`);
    database.exec('PRAGMA cell_size_check = ON');
    database.exec('PRAGMA cache_size = -32768');
    database.exec('PRAGMA temp_store = MEMORY');
    database.exec('PRAGMA wal_autocheckpoint = 4000');
    database.exec(`PRAGMA journal_size_limit = ${64 * 2 ** 20}`);
    return database;
  } catch (error) {
    database?.close();
    throw explain(error, path);
  }
}

/** Takes the lock and makes sure of the format, before the first byte of the file is changed. */
function claim(database: DatabaseSync, path: string): void {
  const owner = pragma(database, 'application_id');
  const version = pragma(database, 'user_version');
  const empty = database.prepare('SELECT count(*) AS tables FROM sqlite_schema').get()?.['tables'] === 0;
  const isNew = empty && version === 0 && owner === 0;
  if (!isNew && owner !== applicationId) {
    throw new MillraceError(
      'queue.format',
      `${path} is a database of another program, or of another part of Millrace: give the queue a file of its own`,
    );
  }
  if (version > schemaVersion) {
    throw new MillraceError(
      'queue.format',
      `${path} has format ${version}, written by a newer release of Millrace; this one knows ${schemaVersion}: ` +
        'run the newer release, or let it drain the queue and begin with a new file',
    );
  }
  if (!isNew) inspect(database, path);
  database.exec('PRAGMA journal_mode = WAL');
  database.exec('BEGIN IMMEDIATE');
  if (isNew) database.exec(schema);
  else for (const step of migrations.slice(version - 1)) database.exec(step);
  database.exec(`PRAGMA application_id = ${applicationId}`);
  database.exec(`PRAGMA user_version = ${schemaVersion}`);
  database.exec('COMMIT');
}

/**
 * The tables and indexes, and every page of a small file; of a large one that would take too long for a start. What is in
 * the rows has sums of its own, which are looked at whenever it is read.
 */
function inspect(database: DatabaseSync, path: string): void {
  // One bit makes another column of a name, and another selection of the condition of an index.
  const changed = changedTable(database);
  if (changed !== undefined) throw damaged(path, `what it says of ${changed} is not what this format says`);
  if (pragma(database, 'page_count') * pragma(database, 'page_size') > lookThrough) return;
  const findings = database
    .prepare('PRAGMA integrity_check(3)')
    .all()
    .map((row) => String(row['integrity_check']));
  if (findings[0] !== 'ok') throw damaged(path, findings.join('; '));
}

/** The first table or index that is not as `schema` makes it; every format up to this one has the same. */
function changedTable(database: DatabaseSync): string | undefined {
  const fresh = new DatabaseSync(':memory:');
  try {
    fresh.exec(schema);
    const [is, shouldBe] = [tablesOf(database), tablesOf(fresh)];
    const names = new Set([...shouldBe.keys(), ...is.keys()]);
    return names.values().find((name) => is.get(name) !== shouldBe.get(name));
  } finally {
    fresh.close();
  }
}

function tablesOf(database: DatabaseSync): Map<string, string> {
  const rows = database.prepare('SELECT type, name, tbl_name, sql FROM sqlite_schema').all();
  return new Map(rows.map(({ name, ...rest }) => [String(name), JSON.stringify(rest).replaceAll(/(?:\\n|\s)+/g, ' ')]));
}

function damaged(path: string, finding: string, cause?: unknown): MillraceError {
  return new MillraceError(
    'queue.damaged',
    `${path} is damaged, and was left as it is: ${finding}. Bring back a copy, save what can be (sqlite3 FILE .recover), ` +
      'or move it away to begin with a new one',
    { cause },
  );
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function explain(error: unknown, path: string): MillraceError {
  if (error instanceof MillraceError) return error;
  // The low byte of an extended result code is the primary one.
  const code = Number((error as { errcode?: unknown }).errcode) & 0xff;
  if (code === 5 || code === 6) {
    return new MillraceError(
      'queue.locked',
      `another process holds ${path}: stop it, or give this queue another path`,
      { cause: error },
    );
  }
  if (code === 11) return damaged(path, messageOf(error), error);
  if (code === 26) {
    return new MillraceError('queue.format', `${path} is not a queue of Millrace: give the queue a file of its own`, {
      cause: error,
    });
  }
  return new MillraceError('queue.unavailable', `${path} cannot be opened: ${messageOf(error)}`, { cause: error });
}
