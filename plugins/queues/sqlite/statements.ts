import type { DatabaseSync } from 'node:sqlite';

const row = `seq, id, lane, state, due, epoch, attempt, max_attempts, order_key, expires, cancel, result_ttl, bytes`;

/** The states are written as numbers: only then does SQLite see that a partial index fits. */
// oxlint-disable-next-line typescript/explicit-module-boundary-types
export function prepareMessages(database: DatabaseSync) {
  return {
    insert: database.prepare(
      `INSERT INTO message
       (seq, id, lane, state, rank, due, max_attempts, result_ttl, bytes, order_key, expires)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
    ),
    insertContent: database.prepare('INSERT INTO content (seq, text, text_sum, body_sum, body) VALUES (?, ?, ?, ?, ?)'),
    insertDedup: database.prepare('INSERT OR REPLACE INTO dedup (lane, key, id, until) VALUES (?, ?, ?, ?)'),
    dedup: database.prepare('SELECT id FROM dedup WHERE lane = ? AND key = ? AND until > ?'),
    exists: database.prepare('SELECT 1 FROM message WHERE id = ?'),
    byId: database.prepare(`SELECT ${row} FROM message WHERE id = ?`),
    head: database.prepare(
      `SELECT seq, state, due FROM message INDEXED BY message_keyed
       WHERE lane = ? AND order_key = ? AND order_key IS NOT NULL AND state < 4 ORDER BY seq LIMIT 1`,
    ),
    take: database.prepare(
      `SELECT ${row.replaceAll(/(\w+)/g, 'm.$1')}, c.text, c.text_sum, c.body_sum, c.body
       FROM message m INDEXED BY message_ready LEFT JOIN content c ON c.seq = m.seq
       WHERE m.lane = ? AND m.state = 0 ORDER BY m.rank, m.seq LIMIT ?`,
    ),
    lease: database.prepare('UPDATE message SET state = 3, attempt = ?, epoch = ?, started_at = ? WHERE seq = ?'),
    again: database.prepare('UPDATE message SET state = ?, due = ?, attempt = ? WHERE seq = ?'),
    move: database.prepare('UPDATE message SET state = ? WHERE seq = ?'),
    flag: database.prepare('UPDATE message SET cancel = 1 WHERE seq = ?'),
    finish: database.prepare(
      `UPDATE message SET state = ?, attempt = ?, finished_at = ?, result_until = ?, until = ?, reason = ? WHERE seq = ?`,
    ),
    eraseBody: database.prepare('UPDATE content SET body = NULL WHERE seq = ?'),
    insertResult: database.prepare(
      'INSERT INTO result (seq, until, status, headers, sum, body) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    insertLetter: database.prepare(
      'INSERT INTO letter (number, seq, lane, reason, died, died_at) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    insertError: database.prepare(
      `INSERT INTO attempt_error (seq, number, attempt, at, code, message, status)
       VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM attempt_error WHERE seq = ?), ?, ?, ?, ?, ?)`,
    ),
  };
}
