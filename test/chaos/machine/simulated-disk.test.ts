import { describe, expect, it } from 'vitest';
import { seeded } from '../random.ts';
import { SimulatedDisk, type DiskEvent } from './simulated-disk.ts';
import { Parser } from './trace.ts';

const path = '/d/file';
const create: DiskEvent = { kind: 'create', path };
const sync: DiskEvent = { kind: 'sync', path };
const syncFolder: DiskEvent = { kind: 'sync', path: '/d' };
const unlink: DiskEvent = { kind: 'unlink', path };
const truncate = (size: number): DiskEvent => ({ kind: 'truncate', path, size });
const write = (at: number, text: string): DiskEvent => ({ kind: 'write', path, at, bytes: Buffer.from(text) });
/** In as many sectors as there are letters. */
const wide = (letters: string): string => [...letters].map((letter) => letter.repeat(512)).join('');

/** What may be left of the file, each possibility once: `-` for no file, one letter for each sector. */
function outcomes(...events: DiskEvent[]): string[] {
  const disk = new SimulatedDisk();
  for (const event of events) disk.apply(event);
  const random = seeded(7);
  const found = new Set<string>();
  for (let draw = 0; draw < 2000; draw++) {
    const bytes = disk.crash(random).get(path);
    found.add(
      bytes === undefined
        ? '-'
        : bytes
            .toString()
            .replaceAll(/(.)\1{511}/gs, '$1')
            .replaceAll('\0', '0'),
    );
  }
  return [...found].toSorted();
}

describe('a simulated disk', () => {
  it('keeps what was synced, whatever came after it', () => {
    expect(outcomes(create, syncFolder, write(0, wide('ab')), sync)).toEqual(['ab']);
    expect(outcomes(create, syncFolder, write(0, wide('ab')), sync, write(512, wide('c')))).toEqual(['ab', 'ac']);
  });

  it('may lose each sector of what was not, in any order', () => {
    expect(outcomes(create, syncFolder, write(0, wide('abc')))).toEqual(
      ['', '00c', '0b', '0bc', 'a', 'a0c', 'ab', 'abc'].toSorted(),
    );
  });

  it('tears at the sectors of the disk, not of the write', () => {
    const events = [create, syncFolder, write(0, wide('aa')), sync, write(256, wide('b'))];
    const half = (first: string, second: string): string => first.repeat(256) + second.repeat(256);
    const torn = [wide('aa'), half('a', 'b') + half('b', 'a'), half('a', 'b') + wide('a'), wide('a') + half('b', 'a')];
    const plain = torn.map((text) => text.replaceAll(/(.)\1{511}/gs, '$1'));
    expect(outcomes(...events)).toEqual(plain.toSorted());
  });

  it('may lose a file until its folder was synced, and have one back that was removed', () => {
    expect(outcomes(create, write(0, wide('a')), sync)).toEqual(['-', 'a']);
    expect(outcomes(create, write(0, wide('a')), sync, syncFolder, unlink)).toEqual(['-', 'a']);
    expect(outcomes(create, write(0, wide('a')), sync, syncFolder, unlink, syncFolder)).toEqual(['-']);
  });

  it('may or may not have cut a file', () => {
    const events = [create, syncFolder, write(0, wide('ab')), sync, truncate(512)];
    expect(outcomes(...events)).toEqual(['a', 'ab']);
    expect(outcomes(...events, sync)).toEqual(['a']);
    expect(outcomes(...events, sync, truncate(1024), sync)).toEqual(['a0']);
  });
});

describe('a trace of strace', () => {
  const hex = (text: string): string =>
    [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
  const file = `20<${hex(path)}>`;
  const parsed = (...lines: string[]): unknown[] => {
    const parser = new Parser('/d');
    for (const line of lines) parser.line(line);
    return parser.events;
  };

  it('tells what happened to the files of a folder, and when callers were told', () => {
    expect(
      parsed(
        `7 openat(AT_FDCWD<${hex('/x')}>, "${hex(path)}", O_RDWR|O_CREAT|O_NOFOLLOW|O_CLOEXEC, 0644) = ${file}`,
        `7 pwrite64(${file}, "${hex('ab')}", 2, 4096) = 2`,
        `7 ftruncate(${file}, 8192) = 0`,
        `7 fdatasync(${file}) = 0`,
        `8 writev(9<${hex('socket:[1]')}>, [{iov_base="${hex('HTTP/1.1 202 Accepted\r\nX-Invocation-Id: 01AB\r\n\r\n')}", iov_len=9}], 1) = 9`,
        `8 write(9<${hex('socket:[1]')}>, "${hex('HTTP/1.1 404 Not Found\r\n\r\n')}", 9) = 9`,
        `7 unlink("${hex(path)}") = 0`,
        `7 pwrite64(21<${hex('/elsewhere')}>, "${hex('ab')}", 2, 0) = 2`,
      ),
    ).toEqual([create, write(4096, 'ab'), truncate(8192), sync, { kind: 'answer', id: '01AB' }, unlink]);
  });

  it('has a write from its beginning on, a sync from its end on, and nothing of what failed', () => {
    expect(
      parsed(
        `7 pwrite64(${file}, "${hex('ab')}", 2, 0 <unfinished ...>`,
        `8 fsync(21<${hex('/d')}> <unfinished ...>`,
        `7 <... pwrite64 resumed>) = 2`,
        `7 fsync(${file}) = -1 EIO (Input/output error)`,
        `7 pwrite64(${file}, "${hex('c')}", 1, 2) = 1`,
        `8 <... fsync resumed>) = 0`,
      ),
    ).toEqual([write(0, 'ab'), write(2, 'c'), syncFolder]);
  });

  it('is refused when it has what the simulation does not know', () => {
    expect(() => parsed(`7 fallocate(${file}, 0, 0, 4096) = 0`)).toThrow('does not know');
    const syncing = `8 fsync(${file} <unfinished ...>`;
    expect(() => parsed(syncing, `7 pwrite64(${file}, "", 0, 0) = 0`)).toThrow('while it was synced');
  });
});
