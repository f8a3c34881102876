import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { Client } from '../../core/cli/client.ts';
import { followedLines, LogPlace } from '../../core/cli/log-follower.ts';

const line = (ms: number, text: string): string =>
  JSON.stringify({ instance: 'i', timestamp: new Date(ms).toISOString(), text });

/** A gateway that keeps lines and gives those of `since` on, as the real one does; `end` breaks off each connection. */
async function logServer(): Promise<{
  url: string;
  asked: URLSearchParams[];
  write(...lines: string[]): void;
  writeHalf(text: string): void;
  end(): void;
  fail(status: number | undefined): void;
  close(): void;
}> {
  const kept: string[] = [];
  const asked: URLSearchParams[] = [];
  const open = new Set<ServerResponse>();
  let failing: number | undefined;
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? '', 'http://x');
    asked.push(searchParams);
    if (failing !== undefined) {
      response.writeHead(failing).end(JSON.stringify({ error: { code: 'x.y', message: 'no' } }));
      return;
    }
    const since = Date.parse(searchParams.get('since') ?? '1970-01-01');
    const fitting = kept.filter((each) => Date.parse((JSON.parse(each) as { timestamp: string }).timestamp) >= since);
    const tail = Number(searchParams.get('tail') ?? Infinity);
    response.write(`${fitting.slice(-tail).join('\n')}\n\n`);
    open.add(response);
    response.on('close', () => open.delete(response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  closing.push(close);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    write: (...lines) => {
      kept.push(...lines);
      for (const response of open) response.write(lines.map((each) => `${each}\n`).join(''));
    },
    writeHalf: (text) => {
      for (const response of open) response.write(text);
    },
    end: () => {
      for (const response of open) response.destroy();
    },
    fail: (status) => {
      failing = status;
    },
    close,
  };
}

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

async function take(lines: AsyncGenerator<string>, count: number): Promise<string[]> {
  const taken: string[] = [];
  while (taken.length < count) taken.push(String((await lines.next()).value));
  return taken;
}

it('logs -f goes on after a broken connection, with each line once, also those of one millisecond and half a line', async () => {
  const server = await logServer();
  server.write(line(1, 'too old'), line(1, 'a'), line(2, 'b'), line(2, 'b'));
  const reasons: string[] = [];
  const lines = followedLines(new Client(server.url), { name: 'f', tail: '3' }, (reason) => reasons.push(reason));
  expect(await take(lines, 3)).toEqual([line(1, 'a'), line(2, 'b'), line(2, 'b')]);
  server.write(line(3, 'c'));
  expect(await take(lines, 1)).toEqual([line(3, 'c')]);
  server.writeHalf(line(3, 'd').slice(0, 9));
  server.end();
  server.write(line(3, 'd'), line(3, 'c'), line(4, 'e'));
  expect(await take(lines, 3)).toEqual([line(3, 'd'), line(3, 'c'), line(4, 'e')]);
  expect(reasons).toHaveLength(1);
  expect(server.asked.map((query) => [query.get('tail'), query.get('since')])).toEqual([
    ['3', null],
    [null, new Date(3).toISOString()],
  ]);
  await lines.return(undefined);
});

it('logs -f waits for a gateway that is being started, and ends where it is refused', async () => {
  const server = await logServer();
  server.write(line(1, 'a'));
  const reasons: string[] = [];
  const lines = followedLines(new Client(server.url), { name: 'f' }, (reason) => {
    reasons.push(reason);
    if (reasons.length === 2) server.fail(404);
  });
  expect(await take(lines, 1)).toEqual([line(1, 'a')]);
  server.fail(503);
  server.end();
  await expect(lines.next()).rejects.toMatchObject({ exitCode: 4 });
  expect(reasons).toHaveLength(2);
});

it('logs -f ends at once where there is no gateway', async () => {
  const server = await logServer();
  server.close();
  const lines = followedLines(new Client(server.url), { name: 'f' }, () => expect.unreachable());
  await expect(lines.next()).rejects.toMatchObject({ exitCode: 3 });
});

it('a place knows lines of its last millisecond by how often each came', () => {
  const place = new LogPlace();
  expect(place.resume()).toBeUndefined();
  expect([line(5, 'a'), line(5, 'a'), line(4, 'late')].map((each) => place.isNew(each))).toEqual([true, true, true]);
  expect(place.resume()).toBe(new Date(5).toISOString());
  expect([line(5, 'a'), line(5, 'a'), line(5, 'a')].map((each) => place.isNew(each))).toEqual([false, false, true]);
});
