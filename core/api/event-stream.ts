import type { ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import type { MillraceEvent } from '../observe/events.ts';
import { isoTime } from '../kit/time.ts';
import type { Reply } from './reply.ts';
import type { RouteContext } from './route.ts';

/**
 * Answers with what goes on until either side closes. `begin` returns what ends it, or undefined when all has been
 * written.
 */
export function streamed(
  { reply, gone }: RouteContext,
  contentType: string,
  begin: (response: ServerResponse) => (() => void) | undefined,
): Reply {
  const response = reply.raw;
  const signal = gone();
  response.on('error', () => undefined); // A connection that breaks closes too, and that is heard.
  response.writeHead(200, { 'content-type': contentType });
  const stop = begin(response);
  const end = (): void => {
    stop?.();
    response.end();
  };
  if (!stop || signal.aborted) end();
  else signal.addEventListener('abort', end, { once: true });
  return reply;
}

/**
 * Writes events to one client as Server-Sent Events. A client that reads slowly loses the oldest ones, and is told how
 * many: nothing else waits for it, and what is kept for it is bounded.
 */
export class EventStream {
  readonly #out: Writable;
  readonly #capacity: number;
  #waiting: MillraceEvent[] = [];
  #dropped = 0;
  #full = false;

  constructor(out: Writable, capacity = 1000) {
    this.#out = out;
    this.#capacity = capacity;
    out.on('drain', () => this.#drain());
  }

  send(event: MillraceEvent): void {
    if (!this.#full) {
      this.#write(eventText(event.type, { ...event, at: isoTime(event.at) }));
      return;
    }
    this.#waiting.push(event);
    // Cut in halves rather than one by one: moving the whole list for every event would cost more than the event.
    if (this.#waiting.length >= 2 * this.#capacity) this.#trim();
  }

  /** Keeps proxies from taking silence for death. */
  heartbeat(): void {
    if (!this.#full) this.#write(': still here\n\n');
  }

  #trim(): void {
    const surplus = this.#waiting.length - this.#capacity;
    if (surplus <= 0) return;
    this.#waiting = this.#waiting.slice(surplus);
    this.#dropped += surplus;
  }

  #drain(): void {
    this.#full = false;
    this.#trim();
    const waiting = this.#waiting;
    this.#waiting = [];
    if (this.#dropped > 0) {
      this.#write(eventText('dropped', { count: this.#dropped }));
      this.#dropped = 0;
    }
    for (const event of waiting) this.send(event);
  }

  #write(data: string): void {
    if (!this.#out.write(data)) this.#full = true;
  }
}

/** One message of Server-Sent Events. */
export function eventText(type: string, data: unknown): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}
