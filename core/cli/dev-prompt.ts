import { readFile } from 'node:fs/promises';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { messageOf } from '../contracts/errors.ts';
import type { Answer, Client } from './client.ts';
import { CliError } from './command.ts';
import { exitCodes } from './exit-codes.ts';
import { functionNames } from './functions.ts';
import { resultOf } from './invocations.ts';
import { callFunction } from './invoke.ts';
import { colours, printable } from './output.ts';

const words = ['async', 'functions', 'help', 'quit'];
/** How long the prompt looks for the answer of a queued call. */
const resultWaitMs = 300_000;
const mostShown = 10_000;

const help = `
  NAME [BODY]          call a function: echo hello, resize @picture.png, search/books?q=tides
  async NAME [BODY]    queue the call; its answer is shown when there is one
  functions            list them
  quit                 stop the gateway, as Ctrl-C does
A BODY of @FILE is what the file holds. A function that is called like one of these words: quit.openfaas-fn
`;

/** A line of the prompt. */
export type Line =
  | { readonly kind: 'nothing' | 'help' | 'functions' | 'quit' }
  | { readonly kind: 'call'; readonly queued: boolean; readonly target: string; readonly body: string };

/** What a line of the prompt asks for. */
export function lineOf(text: string): Line {
  const [, word = '', rest = ''] = /^\s*(\S*)\s*(.*?)\s*$/s.exec(text) ?? [];
  if (word === '') return { kind: 'nothing' };
  if (word === 'help' || word === 'functions' || word === 'quit') return { kind: word };
  if (word !== 'async') return { kind: 'call', queued: false, target: word, body: rest };
  const [, target = '', body = ''] = /^(\S*)\s*(.*)$/s.exec(rest) ?? [];
  return target === '' ? { kind: 'help' } : { kind: 'call', queued: true, target, body };
}

/** Reads lines that call functions, and keeps what is logged meanwhile out of the line that is being typed. */
export class DevPrompt {
  readonly #input: Readable;
  readonly #output: Writable;
  readonly #onQuit: () => void;
  #lines: Interface | undefined;
  #client: Client | undefined;
  #names: readonly string[] = [];
  /** The calls, one after another. */
  #work: Promise<void> = Promise.resolve();

  constructor(input: Readable, output: Writable, onQuit: () => void) {
    this.#input = input;
    this.#output = output;
    this.#onQuit = onQuit;
  }

  start(client: Client): void {
    this.#client = client;
    const completer = (line: string): [string[], string] => {
      const typed = /\S*$/.exec(line)?.[0] ?? '';
      return [[...words, ...this.#names].filter((word) => word.startsWith(typed)), typed];
    };
    const lines = createInterface({
      input: this.#input,
      output: this.#output,
      prompt: '> ',
      historySize: 1000,
      completer,
    });
    this.#lines = lines;
    lines.on('line', (line) => {
      this.#work = this.#work.then(() => this.#run(lineOf(line)));
    });
    // It has read the key instead of the terminal.
    lines.on('SIGINT', () => this.#quit());
    lines.on('close', () => this.#quit());
    void this.#learn();
    lines.prompt();
  }

  /** Above the line that is being typed. */
  write(text: string): void {
    if (!this.#lines) {
      this.#output.write(text);
      return;
    }
    this.#output.write(`\r\u001b[J${text}`);
    this.#lines.prompt(true);
  }

  /** Leaves the terminal as it was. */
  close(): void {
    const lines = this.#lines;
    this.#lines = undefined;
    lines?.close();
  }

  #quit(): void {
    if (!this.#lines) return;
    this.close();
    this.#onQuit();
  }

  /** Never rejects: what failed is shown, and the next line may do better. */
  async #run(line: Line): Promise<void> {
    try {
      if (line.kind === 'quit') this.#quit();
      else if (line.kind === 'help') this.write(help);
      else if (line.kind === 'functions') this.write(`${(await this.#learn()).join('\n')}\n`);
      else if (line.kind === 'call') await this.#call(line.target, line.body, line.queued);
      else this.#lines?.prompt();
    } catch (error) {
      this.write(`${colours.red(printable(messageOf(error), 1000))}\n`);
    }
  }

  async #call(target: string, body: string, queued: boolean): Promise<void> {
    const client = this.#client;
    if (!client) return;
    const began = performance.now();
    const answer = await callFunction(client, target, { body: body === '' ? undefined : await bytesOf(body), queued });
    if (!queued || answer.status !== 202) {
      this.write(await shown(answer, performance.now() - began));
      return;
    }
    await answer.body.dump();
    const id = String(answer.headers['x-invocation-id']);
    this.write(`${colours.dim(`accepted as ${id}`)}\n`);
    // Other lines may be typed until then.
    void resultOf(client, id, resultWaitMs)
      .then((result) => shown(result, performance.now() - began))
      .catch((error: unknown) => `${colours.red(printable(messageOf(error), 1000))}\n`)
      .then((text) => this.write(`${colours.dim(id)} ${text}`));
  }

  async #learn(): Promise<readonly string[]> {
    if (this.#client) this.#names = await functionNames(this.#client).catch(() => this.#names);
    return this.#names;
  }
}

async function bytesOf(body: string): Promise<string | Uint8Array> {
  if (!body.startsWith('@')) return body;
  try {
    return await readFile(body.slice(1));
  } catch (error) {
    throw new CliError(exitCodes.usage, messageOf(error));
  }
}

/** `200 application/json 12 ms`, and the body below it if it is text. */
async function shown({ status, headers, body }: Answer, tookMs: number): Promise<string> {
  const bytes = Buffer.from(await body.arrayBuffer());
  const state = `${status} ${String(headers['content-type'] ?? '')} ${Math.round(tookMs)} ms`;
  const head = status >= 400 ? colours.red(state) : colours.dim(state);
  if (bytes.length === 0) return `${head}\n`;
  if (bytes.includes(0)) return `${head}\n${bytes.length} bytes that are no text\n`;
  const lines = bytes.toString().slice(0, mostShown).trimEnd().split('\n');
  const rest = bytes.length > mostShown ? [colours.dim(`… ${bytes.length} bytes in all`)] : [];
  return `${[head, ...lines.map((line) => printable(line, 1000)), ...rest].join('\n')}\n`;
}
