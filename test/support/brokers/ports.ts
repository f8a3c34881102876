import { once } from 'node:events';
import { createServer } from 'node:net';

/**
 * Free ports of the loopback interface, below those that the system gives to outgoing connections: while a broker is
 * down, a client that dials it again and again would otherwise be given the broker's own port one day, and reach itself.
 */
export async function freePorts(count: number, first?: number): Promise<readonly number[]> {
  const found = new Set<number>();
  if (first !== undefined && (await isFree(first))) found.add(first);
  while (found.size < count) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (await isFree(port)) found.add(port);
  }
  return [...found];
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    return true;
  } catch {
    return false; // Taken, or not to be had: another one will do.
  } finally {
    server.close();
  }
}
