import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import type { Handler } from '../http-functions.ts';
import type { KubeObject } from './fake-objects.ts';

/** What the containers of an image do; it is told which pod it is. */
export type PodHandler = (request: IncomingMessage, response: ServerResponse, pod: KubeObject) => void | Promise<void>;

/** So long after it was given an answer counts as under way: what its caller has not read is lost with the connection. */
const unreadMs = 100;
/** How long a container that is asked to end still takes connections. */
const lingerMs = 250;

/**
 * What answers in place of containers: for each pod an HTTP server on the pod's own address. They are told of pods, be
 * it by the fake cluster or by a watch on a real one, whose fake kubelet runs nothing.
 */
export class StandIns {
  readonly #servers = new Map<string, StandIn>();

  /** Listens at that address for the pod of that name; rejects with EADDRINUSE where somebody else does. */
  async start(pod: string, address: string, port: number, handler: Handler): Promise<void> {
    const standIn = new StandIn(handler);
    await standIn.listen(address, port);
    this.#servers.set(pod, standIn);
  }

  has(pod: string): boolean {
    return this.#servers.has(pod);
  }

  /** How many requests are under way in it, or were a moment ago. */
  inFlight(pod: string): number {
    return this.#servers.get(pod)?.inFlight ?? 0;
  }

  /** As a container that is killed: breaks off what it is at. */
  async kill(pod: string): Promise<void> {
    const standIn = this.#servers.get(pod);
    this.#servers.delete(pod);
    await standIn?.kill();
  }

  /** As a container that is asked to end: takes no more connections soon after, and ends when it has answered, or at the deadline. */
  async end(pod: string, deadlineMs: number): Promise<void> {
    const standIn = this.#servers.get(pod);
    this.#servers.delete(pod);
    await standIn?.end(deadlineMs);
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.#servers.keys()].map((pod) => this.kill(pod)));
  }
}

class StandIn {
  inFlight = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(handler: Handler) {
    this.#server = createServer((request, response) => {
      this.inFlight++;
      response.on('close', () => setTimeout(() => void this.inFlight--, unreadMs).unref());
      void handler(request, response);
    });
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined); // Its caller may break off as he likes.
    });
  }

  async listen(address: string, port: number): Promise<void> {
    this.#server.listen(port, address);
    await once(this.#server, 'listening');
  }

  async kill(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  /** Not at once, as OpenFaaS' watchdogs do it: what was sent before the news of its end has come is answered. */
  async end(deadlineMs: number): Promise<void> {
    await wait(Math.min(deadlineMs, lingerMs));
    const closed = once(this.#server, 'close');
    const late = setTimeout(() => this.#server.closeAllConnections(), deadlineMs);
    this.#server.close();
    this.#server.closeIdleConnections();
    await closed;
    clearTimeout(late);
  }
}
