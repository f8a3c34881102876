import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { sleep } from '../../core/contracts/clock.ts';

const root = join(import.meta.dirname, '../..');

/** What every page's shell has: its checkout, and tools that fail where a reader would see an error. */
const profile = `set -o pipefail
export HOME=$PWD MILLRACE_HINTS=0 NO_COLOR=1 NODE_COMPILE_CACHE=${join(root, '.compile-cache')}
curl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }
npm() { command npm --prefix ${root} "$@"; }
`;

export interface Ran {
  readonly code: number;
  readonly output: string;
}

interface Served {
  readonly pid: number;
  readonly url: string;
  readonly management: string;
}

/** The reader's terminal: one shell for a page, in a folder of its own, with gateways that it started. */
export class Shell implements AsyncDisposable {
  readonly #folder: string;
  readonly #bash: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #places: Readonly<Record<string, string>>;
  #served: Served | undefined;
  /** The gateway that was started last, whether or not it has become ready. */
  #starting: number | undefined;
  /** The id that was seen last: what `ID` of the next command means. */
  #id: string | undefined;
  #count = 0;

  /** `places`: addresses of the pages, and what they are here. Everything ends when `signal` aborts. */
  constructor(folder: string, places: Readonly<Record<string, string>>, signal: AbortSignal) {
    this.#folder = folder;
    this.#places = places;
    mkdirSync(join(folder, '.ran'), { recursive: true });
    const env = { PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH']}` };
    this.#bash = spawn('bash', ['--noprofile', '--norc'], {
      cwd: folder,
      env,
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
    });
    if (!this.#bash.stdin || !this.#bash.stdout) throw new Error('bash has no pipes');
    this.#answers = createInterface({ input: this.#bash.stdout })[Symbol.asyncIterator]();
    this.#bash.stdin.write(profile);
    signal.addEventListener('abort', () => this.#kill(), { once: true });
  }

  /** Runs the commands of a block one after another, up to the first that fails. */
  async run(block: string): Promise<Ran> {
    let output = '';
    for (const command of commandsOf(block)) {
      const ran = await this.#one(this.here(command), '');
      output += ran.output;
      this.#id = ran.output.match(/\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b/g)?.at(-1) ?? this.#id;
      if (ran.code !== 0) return { code: ran.code, output: `${command}\n${output}` };
    }
    return { code: 0, output };
  }

  /** Runs a block whose last command is a gateway, which goes on; one that was started before is stopped. */
  async serve(block: string): Promise<Ran> {
    await this.stop();
    const commands = commandsOf(block);
    const before = await this.run(commands.slice(0, -1).join(''));
    if (before.code !== 0) return before;
    const { code: pid } = await this.#one(this.here(commands.at(-1) ?? ''), '&');
    this.#starting = pid;
    const log = join(this.#folder, '.ran', `${this.#count}.log`);
    for (;;) {
      const output = readFileSync(log, 'utf8');
      const line = output.split('\n').find((one) => one.includes('"msg":"ready"'));
      if (line !== undefined) {
        this.#served = { pid, ...(JSON.parse(line) as { url: string; management: string }) };
        return this.#one(`export MILLRACE_URL=${this.#served.url}`, '');
      }
      if (!isAlive(pid)) return { code: 1, output };
      await sleep(20);
    }
  }

  /** Stops the gateway as a supervisor does, and waits for its end. */
  async stop(): Promise<void> {
    const served = this.#served;
    this.#served = undefined;
    if (!served) return;
    process.kill(-served.pid, 'SIGTERM');
    while (isAlive(served.pid)) await sleep(20);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#kill();
  }

  /** With whatever it still runs. */
  #kill(): void {
    for (const group of [this.#starting, this.#bash.pid])
      if (group !== undefined && isAlive(group)) process.kill(-group, 'SIGKILL');
  }

  /** The code is the process where it is left running. */
  async #one(command: string, where: '' | '&'): Promise<Ran> {
    const file = join(this.#folder, '.ran', `${++this.#count}`);
    writeFileSync(file, command);
    writeFileSync(`${file}.log`, '');
    const job = `source ${file} </dev/null >${file}.log 2>&1`;
    // A job of its own group, so that all of it can be ended.
    this.#bash.stdin?.write(where === '' ? `${job}; echo $?\n` : `set -m; { ${job}; } & set +m; echo $!\n`);
    const { value, done } = await this.#answers.next();
    const output = readFileSync(`${file}.log`, 'utf8');
    return { code: done === true ? 1 : Number(value), output };
  }

  /** The text with the addresses and the id that the page's are here. */
  here(command: string): string {
    const places = {
      ...this.#places,
      ...(this.#served && {
        'http://127.0.0.1:8080': this.#served.url,
        'http://127.0.0.1:8082': this.#served.management,
      }),
    };
    let text = command;
    for (const [there, here] of Object.entries(places)) text = text.replaceAll(there, here);
    return this.#id === undefined ? text : text.replaceAll(/\bID\b/g, this.#id);
  }
}

/** A command may have several lines: bash says where it is whole. */
function commandsOf(block: string): readonly string[] {
  const commands: string[] = [];
  let command = '';
  for (const line of block.split('\n')) {
    if (command === '' && (line === '' || line.startsWith('#'))) continue;
    command += `${line}\n`;
    const { status, stderr } = spawnSync('bash', ['-n'], { input: command });
    if (line.endsWith('\\') || status !== 0 || stderr.includes('here-document')) continue;
    commands.push(command);
    command = '';
  }
  if (command !== '') commands.push(command); // Not a command: running it says why.
  return commands;
}

function isAlive(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}

/** Whether the output is what the page shows: `…` is anything, and columns may be wider. */
export function isAsShown(output: string, shown: string): boolean {
  const plain = (text: string): string =>
    text
      .replaceAll('\r', '')
      .trim()
      .replaceAll(/[ \t]+/g, ' ')
      .replaceAll(/ ?\n ?/g, '\n');
  const pattern = plain(shown)
    .split('…')
    .map((part) => part.replaceAll(/[$()*+.?[\\\]^{|}]/g, '\\$&'))
    .join('[^]*?');
  return new RegExp(`^${pattern}$`).test(plain(output));
}
