import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, globSync, mkdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { freePorts } from '../../test/support/brokers/ports.ts';
import { NotMeasured } from '../rows/row.ts';

/** A PostgreSQL of its own, as it comes: every commit is on the disk before it is answered. */
export class Postgres implements AsyncDisposable {
  readonly url: string;
  readonly #server: ChildProcess;

  private constructor(server: ChildProcess, url: string) {
    this.#server = server;
    this.url = url;
  }

  /** Its files lie in `parent`. Throws NotMeasured where there is none to start. */
  static async start(parent: string): Promise<Postgres> {
    const programs = foundPrograms();
    const data = join(parent, 'postgres');
    mkdirSync(data);
    const user = ownUser();
    if (user) {
      chmodSync(parent, 0o711);
      chownSync(data, user.uid, user.gid);
    }
    const stdio: ('ignore' | 'inherit')[] = ['ignore', 'ignore', 'inherit'];
    const options = { ...user, cwd: data, stdio };
    execFileSync(join(programs, 'initdb'), ['-D', data, '-U', 'bench', '-A', 'trust'], options);
    const [port = 0] = await freePorts(1);
    const args = ['-D', data, '-h', '127.0.0.1', '-p', String(port), '-k', '', '-c', 'log_min_messages=fatal'];
    const server = spawn(join(programs, 'postgres'), args, options);
    process.once('exit', () => server.kill('SIGQUIT'));
    while (
      spawnSync(join(programs, 'pg_isready'), ['-h', '127.0.0.1', '-p', String(port), '-U', 'bench']).status !== 0
    ) {
      if (server.exitCode !== null) throw new Error(`postgres ended with ${server.exitCode}`);
      await wait(100);
    }
    return new Postgres(server, `postgres://bench@127.0.0.1:${port}/postgres`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#server, 'exit');
    this.#server.kill('SIGINT');
    await ended;
  }
}

/** The folder of its programs: on the PATH, or where Debian has them. */
function foundPrograms(): string {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const found = globSync([...folders.map((folder) => join(folder, 'initdb')), '/usr/lib/postgresql/*/bin/initdb']);
  const [initdb] = found;
  if (initdb === undefined)
    throw new NotMeasured('there is no PostgreSQL on this machine (`apt-get install postgresql`)');
  return dirname(initdb);
}

/** It refuses to run as root. */
function ownUser(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const idOf = (flag: string): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }));
  return { uid: idOf('-u'), gid: idOf('-g') };
}
