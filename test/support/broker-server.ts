import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { BrokerMissing, isBrokerKind, recipes, startBroker, type BrokerKind } from './brokers.ts';
import { shareCluster } from './kube/shared-cluster.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The socket where test files ask for the brokers that they share. */
    readonly brokers: string;
  }
}

/** What a test file is told about a shared broker. */
export type SharedBroker = { readonly url: string } | { readonly missing: string };

/**
 * Starts a broker, or a Kubernetes cluster, for all test files of a run when the first of them asks, and ends them all
 * with the run. vitest's `globalSetup`: it runs in vitest's main process, and test files in others, so they ask through
 * a socket.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-brokers-'));
  const socket = join(folder, 'socket');
  const asked = new Map<string, Promise<object>>();
  const started: { dispose(): Promise<void> }[] = [];
  const server = createServer((request, response) => {
    const kind = request.url?.slice(1) ?? '';
    const answer = asked.get(kind) ?? shareOf(kind);
    if (!answer) {
      response.writeHead(404).end();
      return;
    }
    asked.set(kind, answer);
    answer.then(
      (shared) => response.end(JSON.stringify(shared)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  server.listen(socket);
  await once(server, 'listening');
  project.provide('brokers', socket);

  return async () => {
    server.closeAllConnections();
    server.close();
    // One that is still being started is not waited for: it ends with this process.
    await Promise.all(started.map((one) => one.dispose()));
    rmSync(folder, { recursive: true, force: true });
  };

  function shareOf(kind: string): Promise<object> | undefined {
    if (kind === 'kube') return kube();
    return isBrokerKind(kind) ? share(kind) : undefined;
  }

  async function kube(): Promise<object> {
    const { shared, dispose } = await shareCluster();
    if (dispose) started.push({ dispose });
    return shared;
  }

  async function share(kind: BrokerKind): Promise<SharedBroker> {
    const url = process.env[recipes[kind].variable];
    if (url !== undefined && url !== '') return { url };
    try {
      const broker = await startBroker(kind);
      started.push(broker);
      return { url: broker.url };
    } catch (error) {
      if (!(error instanceof BrokerMissing)) throw error;
      return { missing: error.message };
    }
  }
}
