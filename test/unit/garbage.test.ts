import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

// V8 waits for half a minute after the start of a thread, and then for 8 s of quiet.
const soon = ['--gc-memory-reducer-start-delay-ms=100', '--memory-reducer-delay-ms=100'];
const program = join(import.meta.dirname, '../support/cleared-start.ts');

it('what a start took goes back once nothing is to be done: V8 is asked for it once, and not while much is', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [...soon, program], { timeout: 30_000 });
  expect(JSON.parse(stdout)).toEqual({ askedWhileBusy: 0, asked: 1, held: 0 });
}, 40_000);
