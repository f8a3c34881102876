import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Command } from 'commander';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { registerCommands } from '../../core/cli/commands.ts';
import { scriptOf, type Shell } from '../../core/cli/completion-script.ts';
import { completionsOf } from '../../core/cli/completions.ts';
import { exitCodes } from '../../core/cli/exit-codes.ts';
import { cliPage } from '../../core/cli/page.ts';
import type { Queue } from '../../core/contracts/queue.ts';
import type { Route, Routes } from '../../core/contracts/route.ts';
import { FunctionLogs } from '../../core/functions/logs.ts';
import { kill, leaseOne, message, startApi, type TestApi } from '../api/api-server.ts';
import { builtIns } from '../support/gateway.ts';

const run = promisify(execFile);

function echo(routes: Routes): void {
  const handle: Route['handle'] = (_request, response) => void response.end('it ran');
  routes.add({ methods: ['POST'], path: '/function/:name', auth: 'public', handle });
}

const context = {
  registry: builtIns(),
  defaults: {
    queues: { default: { kind: 'memory', allowVolatile: true } },
    stores: { default: { kind: 'memory' } },
    providers: { worker: { kind: 'worker' } },
    connectors: { http: { kind: 'http' } },
  },
};

async function wholeTree(): Promise<Command> {
  const program = new Command('millrace').exitOverride();
  await registerCommands(program, context, undefined);
  return program;
}

/** Every command that does something, by its words. */
function commandsOf(command: Command, line = ''): [string, Command][] {
  return command.commands.flatMap((each): [string, Command][] => {
    const words = `${line} ${each.name()}`.trim();
    const below = commandsOf(each, words);
    return each.commands.length === 0 || each.options.length > 0 ? [[words, each], ...below] : below;
  });
}

let tree: Command;
beforeAll(async () => {
  tree = await wholeTree();
});

describe('--json', () => {
  /** Why a command has none. */
  const without: Readonly<Record<string, string>> = {
    serve: 'it logs, as observability.logs.format says',
    dev: 'for people only; its logs are those of serve',
    schema: 'what it prints is JSON',
    completion: 'what it prints is a script',
    generate: 'writes files of the repository, and is no command for users',
    front: 'is started by the gateway, and is no command for users',
  };

  it('is an option of every command that prints', () => {
    const lacking = commandsOf(tree).filter(([, command]) => !command.options.some(({ long }) => long === '--json'));
    expect(lacking.map(([words]) => words).toSorted()).toEqual(Object.keys(without).toSorted());
  });

  let api: TestApi;
  let folder: string;
  let queue: Queue;
  beforeEach(async () => {
    const logs = new FunctionLogs();
    logs.append({ function: 'echo.openfaas-fn', instance: 'i', at: 0, text: 'a line' });
    api = await startApi({ services: { ...changing, logs }, routes: echo });
    queue = api.queues.get('default') as Queue;
    folder = await mkdtemp(join(tmpdir(), 'millrace-tree-'));
    await writeFile(join(folder, 'millrace.yaml'), configuration);
    await writeFile(join(folder, 'stack.yaml'), stack);
    await writeFile(join(folder, 'secret'), 'x');
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    await api.close();
    await rm(folder, { recursive: true, force: true });
  });

  const configuration = 'functions: {}\ntests: [{ name: a, call: x, input: {}, expect: {} }]\n';
  const stack = 'provider: { name: openfaas }\nfunctions: { made: { image: made } }\n';
  /** Lets every command do what it is asked. */
  const changing = {
    deployments: {
      deploy: async () => undefined,
      remove: async () => undefined,
      namespaces: () => [],
      putNamespace: async () => undefined,
      removeNamespace: async () => undefined,
    },
    scale: async () => undefined,
    trigger: async () => [{ id: 'i', duplicate: false, at: 0 }],
    secrets: () => ({
      list: async () => [],
      create: async () => true,
      update: async () => true,
      remove: async () => true,
    }),
  };

  /** What each command is asked, with the parts that the test has made. */
  const asked = async (): Promise<Readonly<Record<string, readonly string[]>>> => {
    const file = join(folder, 'millrace.yaml');
    const ended = message();
    await queue.enqueue([ended]);
    const { receipt } = await leaseOne(queue);
    await queue.settle(receipt, { kind: 'ack', result: { status: 200, headers: {}, body: Buffer.from('done') } });
    const letter = await kill(queue);
    const waiting = message();
    await queue.enqueue([waiting]);
    return {
      init: [join(folder, 'new')],
      check: [file],
      test: [file],
      plan: [file, file],
      plugins: [],
      'token create': [],
      'config show': [file],
      top: ['--every', '100ms'],
      functions: [],
      deploy: ['--file', join(folder, 'stack.yaml')],
      remove: ['echo'],
      scale: ['echo', '2'],
      secrets: [],
      'secrets create': ['key', '--from-file', join(folder, 'secret')],
      'secrets update': ['key', '--from-file', join(folder, 'secret')],
      'secrets remove': ['key'],
      logs: ['echo'],
      invoke: ['echo'],
      'invocations list': ['--state', 'queued'],
      'invocations get': [waiting.id],
      'invocations result': [ended.id],
      'invocations cancel': [waiting.id],
      connections: [],
      connectors: [],
      'connectors trigger': ['c'],
      'connectors backfill': ['c', '--from', '2026-11-01T00:00:00Z', '--to', '2026-11-02T00:00:00Z'],
      queues: [],
      'queues pause': ['echo'],
      'queues resume': ['echo'],
      'dead-letters list': [],
      'dead-letters show': [letter],
      'dead-letters replay': [letter],
      'dead-letters purge': ['--all', '--yes'],
      names: ['functions'],
    };
  };

  it('makes what each command prints JSON, and nothing else', async () => {
    const all = await asked();
    expect(Object.keys(all).toSorted()).toEqual(
      commandsOf(tree)
        .map(([words]) => words)
        .filter((words) => !(words in without))
        .toSorted(),
    );
    for (const [words, args] of Object.entries(all)) {
      const { out, err } = await captured([...words.split(' '), ...args, '--json']);
      expect(err, words).toBe('');
      expect(() => JSON.parse(out) as unknown, `${words}: ${out}`).not.toThrow();
    }
  });

  it('gives no shell a name that it would run, and says nothing where no gateway answers', async () => {
    const evil = await startApi({ functions: { 'echo.fn': undefined, '$(touch evil).fn': undefined } });
    try {
      expect(await captured(['names', 'functions'], evil.url)).toEqual({ out: 'echo.fn\n', err: '' });
    } finally {
      await evil.close();
    }
    expect(await captured(['names', 'functions'], evil.url)).toEqual({ out: '', err: '' });
  });

  async function captured(words: readonly string[], url = api.url): Promise<{ out: string; err: string }> {
    const printed = { out: '', err: '' };
    const keep = (chunk: unknown, ...rest: unknown[]): boolean => {
      printed.out += String(chunk);
      for (const done of rest) if (typeof done === 'function') (done as () => void)();
      return true;
    };
    const spies = [
      vi.spyOn(process.stdout, 'write').mockImplementation(keep),
      vi.spyOn(console, 'log').mockImplementation((text: unknown) => void (printed.out += `${String(text)}\n`)),
      vi.spyOn(console, 'error').mockImplementation((text: unknown) => void (printed.err += `${String(text)}\n`)),
    ];
    vi.stubEnv('MILLRACE_URL', url);
    try {
      await (await wholeTree()).parseAsync([...words], { from: 'user' });
    } finally {
      for (const spy of spies) spy.mockRestore();
      vi.unstubAllEnvs();
    }
    return printed;
  }
});

describe('docs/cli.md', () => {
  it('has every command that is not hidden, with all of its options', () => {
    const page = cliPage(tree);
    for (const [words, command] of commandsOf(tree)) {
      const isHidden = ['front', 'generate', 'names'].includes(words);
      expect(page.includes(`## \`millrace ${words}`), words).toBe(!isHidden);
      for (const { flags } of isHidden ? [] : command.options) expect(page).toContain(`| \`${flags}\` |`);
    }
    for (const code of Object.values(exitCodes)) expect(page).toContain(`| ${code} |`);
  });
});

describe('the completion of a shell', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-completion-'));
    // In the place of the program, when the script asks for names.
    await writeFile(
      join(folder, 'millrace'),
      '#!/bin/sh\n[ "$1 $2" = "names functions" ] && echo echo.fn && echo eight.fn\nexit 0\n',
    );
    await chmod(join(folder, 'millrace'), 0o755);
    await writeFile(join(folder, 'some-file.yaml'), '');
    return () => rm(folder, { recursive: true, force: true });
  });

  /** What the shell itself offers for the line, which ends with the word that is being typed. */
  const offered: Readonly<Record<Shell, (script: string, words: readonly string[]) => readonly string[]>> = {
    bash: (script, words) => [
      '--norc',
      '-c',
      `. ${script}; COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
_millrace millrace '${words.at(-1)}' '${words.at(-2)}'; printf '%s\\n' "\${COMPREPLY[@]}"`,
    ],
    // Its completion needs a terminal; what stands for the parts that draw prints what it was given.
    zsh: (script, words) => [
      '-f',
      '-c',
      `compdef() { }; _files() { print -l -- *(N) }
compadd() { shift; for word in "$@"; do if [[ $word == "$words[CURRENT]"* ]]; then print -r -- $word; fi; done }
. ${script}; words=(${words.map((word) => `'${word}'`).join(' ')}); CURRENT=${words.length}; _millrace`,
    ],
    fish: (script, words) => ['--no-config', '-c', `source ${script}; complete -C '${words.join(' ')}'`],
  };

  it.for(['bash', 'zsh', 'fish'] as const)(
    'of %s offers commands, options, choices, files and live names',
    async (shell, { skip }) => {
      const program = ['/usr/bin', '/bin'].map((bin) => join(bin, shell)).find(existsSync);
      // Every machine that runs this has bash.
      if (program === undefined && shell !== 'bash') return skip(`no ${shell} here: apt-get install ${shell}`);
      const script = join(folder, `completion.${shell}`);
      await writeFile(script, scriptOf(shell, completionsOf(tree)));
      const complete = async (...words: string[]): Promise<string[]> => {
        const options = { cwd: folder, env: { PATH: `${folder}:${process.env['PATH']}`, HOME: folder, TERM: 'dumb' } };
        const { stdout } = await run(program ?? shell, [...offered[shell](script, ['millrace', ...words])], options);
        return stdout
          .split('\n')
          .map((line) => line.split('\t')[0] ?? '')
          .filter((line) => line !== '')
          .toSorted();
      };
      expect(await complete('inv')).toEqual(['invocations', 'invoke']);
      expect(await complete('queues', 'p')).toEqual(['pause']);
      expect(await complete('queues', 'pause', 'e')).toEqual(['echo.fn', 'eight.fn']);
      expect(await complete('invoke', 'ec')).toEqual(['echo.fn']);
      expect(await complete('invoke', 'echo.fn', '--idem')).toEqual(['--idempotency-key']);
      expect(await complete('invoke', '--method', 'P')).toEqual(['PATCH', 'POST', 'PUT']);
      expect(await complete('invoke', '-X', 'P')).toEqual(['PATCH', 'POST', 'PUT']);
      expect(await complete('dead-letters', 'replay', '--function', 'ei')).toEqual(['eight.fn']);
      expect(await complete('check', 'some')).toContain('some-file.yaml');
      expect(await complete('gen')).toEqual([]);
    },
  );
});
