import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs it while no other process of this machine runs what has the same name. The lock is a socket without a file, which
 * only Linux has: it goes with the process that holds it, however that ends. Elsewhere nothing is locked, and nothing
 * installed; the same jars may then be looked for twice.
 */
export async function exclusively<T>(name: string, run: () => Promise<T>): Promise<T> {
  if (process.platform !== 'linux') return run();
  const lock = await taken(`\0millrace-${name}`);
  try {
    return await run();
  } finally {
    lock.close();
  }
}

async function taken(address: string): Promise<Server> {
  for (;;) {
    const server = createServer();
    try {
      server.listen(address);
      await once(server, 'listening');
      return server;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
      await sleep(200);
    }
  }
}
