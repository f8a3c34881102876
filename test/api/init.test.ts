import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { languages, projectFiles } from '../../core/cli/init-files.ts';
import { loadConfig } from '../../core/config/load.ts';
import { rehearse } from '../../core/host/rehearsal.ts';
import { builtIns } from '../support/gateway.ts';
import { atTerminal } from '../support/terminal.ts';

const root = join(import.meta.dirname, '../..');
const main = join(root, 'core/main.ts');
const run = promisify(execFile);
const registry = builtIns();
const defaults = {
  queues: { default: { kind: 'sqlite', path: 'data/queue.db' } },
  stores: { default: { kind: 'sqlite', path: 'data/store.db' } },
  providers: { worker: { kind: 'worker' } },
  connectors: { http: { kind: 'http' } },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-init-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function program(cwd: string, ...words: string[]): Promise<Ended> {
  const env = { PATH: process.env['PATH'], NODE_COMPILE_CACHE: join(root, '.compile-cache'), NO_COLOR: '1' };
  try {
    const { stdout, stderr } = await run(process.execPath, words, { cwd, env });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, out: stdout, err: stderr };
  }
}

describe('millrace init', { timeout: 60_000 }, () => {
  it('writes a project that check, test and node --test find right', async () => {
    const made = await program(
      folder,
      main,
      'init',
      'shop',
      '--name',
      'greet',
      '--trigger',
      'kafka',
      '--queue',
      'redis',
    );
    expect(made).toMatchObject({ code: 0, err: '' });
    const project = join(folder, 'shop');
    const files = ['.gitignore', 'functions/greet.ts', 'millrace.yaml', 'package.json', 'test/greet.test.ts'];
    expect(
      (await readdir(project, { recursive: true, withFileTypes: true })).filter((each) => each.isFile()),
    ).toHaveLength(files.length);
    for (const file of files) expect(made.out).toContain(`wrote shop/${file}\n`);
    // As npm does it: `millrace` is a program on the way, and the editor finds the schema in the package.
    const { scripts, name } = JSON.parse(await readFile(join(project, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
      name: string;
    };
    expect(name).toBe('shop');
    await symlink(process.execPath, join(project, 'node'));
    await writeFile(join(project, 'millrace'), `#!/bin/sh\nexec node ${main} "$@"\n`, { mode: 0o755 });
    const { stdout } = await run('sh', ['-c', scripts['test'] ?? ''], {
      cwd: project,
      env: { PATH: `${project}:${process.env['PATH']}` },
    });
    expect(stdout).toMatch(/millrace\.yaml: ok, 1 functions, 2 connectors\n(ok .+\n){2}2 passed, 0 failed\n/);
    expect(stdout).toMatch(/pass 1\n/);
  });

  it('overwrites nothing, and names what is there', async () => {
    await writeFile(join(folder, 'package.json'), '{}');
    const { code, err } = await program(folder, main, 'init', '--yes', '--json');
    expect(code).toBe(2);
    expect(JSON.parse(err)).toMatchObject({
      error: { message: expect.stringMatching(/^package\.json is there already/) },
    });
    expect(await readdir(folder)).toEqual(['package.json']);
    expect(await readFile(join(folder, 'package.json'), 'utf8')).toBe('{}');
  });

  it('refuses a name that no function may have', async () => {
    const { code, err } = await program(folder, main, 'init', '--name', '../evil');
    expect([code, err]).toEqual([2, expect.stringContaining('--name: expected lower-case letters')]);
    expect(await readdir(folder)).toEqual([]);
  });

  it('asks on a terminal for what was not said', async () => {
    await using terminal = atTerminal(`"${process.execPath}" "${main}" init made --queue memory`, folder, {
      NO_COLOR: '1',
    });
    // Some of it before it is asked for.
    terminal.write('greet\ncrown\n');
    await terminal.seen(/expected one of: amqp, cron, http/);
    terminal.write('cron\njs\n');
    expect([await terminal.ended, terminal.shown()]).toEqual([0, expect.stringContaining('what now')]);
    expect(terminal.shown()).not.toContain('where queued work waits');
    const text = await readFile(join(folder, 'made/millrace.yaml'), 'utf8');
    expect(text).toContain('kind: cron');
    expect(text).toContain('kind: memory');
    expect(text).toContain('./functions/greet.js');
    await using left = atTerminal(`"${process.execPath}" "${main}" init left`, folder);
    await left.seen(/name of the function/);
    left.write('\u0003');
    expect([await left.ended, left.shown()]).toEqual([1, expect.stringContaining('nothing was written')]);
    expect(await readdir(folder)).toEqual(['made']);
  });
});

const kinds = registry.kinds('connector').flatMap((trigger) => languages.map((language) => ({ trigger, language })));

describe('the project for every trigger', { timeout: 60_000 }, () => {
  it.each(kinds)('$trigger in $language is right for check and test', async ({ trigger, language }) => {
    const queue = registry.kinds('queue')[registry.kinds('connector').indexOf(trigger)] ?? 'sqlite';
    const files = await projectFiles({ name: 'greet', trigger, queue, language }, 'My Project!', {
      registry,
      defaults,
    });
    const file = join(folder, 'millrace.yaml');
    await writeFile(file, files['millrace.yaml'] ?? '');
    const { config, problems } = await loadConfig(file, registry, defaults, {});
    // A queue in memory is warned of, whoever writes it.
    expect(problems.filter(({ code }) => code !== 'volatile-queue')).toEqual([]);
    expect(config?.tests).toHaveLength(2);
    const memory = { queue: await registry.find('queue', 'memory'), store: await registry.find('store', 'memory') };
    if (!config || !memory.queue || !memory.store) throw new Error('not loaded');
    const standIns = { queue: memory.queue, store: memory.store };
    for (const test of config.tests) {
      expect(await rehearse(config, test, standIns, pino({ level: 'silent' })), test.name).toMatchObject({
        differences: [],
      });
      // What it does not see, it does not test: one run more or less, and another end.
      const { deadLetter } = test.expect;
      const wrong = { ...test, expect: { invocations: 3, deadLetter: deadLetter === false ? {} : (false as const) } };
      expect((await rehearse(config, wrong, standIns, pino({ level: 'silent' }))).differences).toHaveLength(2);
    }
    expect(JSON.parse(files['package.json'] ?? '')).toMatchObject({ name: 'my-project', type: 'module' });
  });

  it('has a function whose test passes, and fails when the function does', async () => {
    for (const language of languages) {
      const choice = { name: language, trigger: 'http', queue: 'sqlite', language };
      const files = await projectFiles(choice, 'p', { registry, defaults });
      const written = Object.entries(files).filter(([path]) => /^(?:functions|test)\//.test(path));
      for (const [path, text] of written)
        await writeFile(join(folder, path.replaceAll('/', '-')), text.replace('../functions/', './functions-'));
    }
    const passed = await program(folder, '--test');
    expect([passed.code, passed.out]).toEqual([0, expect.stringMatching(/pass 2\n/)]);
    const broken = join(folder, 'functions-ts.ts');
    await writeFile(broken, (await readFile(broken, 'utf8')).replace('Hello', 'Bye'));
    expect((await program(folder, '--test')).code).toBe(1);
  });
});
