import { spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { once } from 'node:events';
import { Keeper } from '../brokers/keeper.ts';
import { freePorts } from '../brokers/ports.ts';

const script = join(import.meta.dirname, 'real/k8s.sh');
/** Its own, etcd's and that of etcd's peers stand side by side. */
const portsInARow = 3;

/** Where a real API server is to be had from. */
export interface RealPrograms {
  /** What `k8s.sh` runs, with the name of a part as its first argument; made in the cluster's folder if need be. */
  readonly program: (folder: string) => string;
  /** Whether there are controllers, a scheduler and a node as well, so that Deployments get pods. */
  readonly whole: boolean;
}

/** A real Kubernetes API server with its etcd, and if they are there the real controllers and a node that only pretends. */
export class RealCluster implements AsyncDisposable {
  readonly kubeconfig: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #keeper: Keeper;
  readonly #groups: number[] = [];

  private constructor(folder: string, env: NodeJS.ProcessEnv) {
    this.kubeconfig = join(folder, 'kubeconfig');
    this.#env = env;
    this.#keeper = new Keeper(folder);
  }

  /** On free ports, that one if it is, with a folder of its own; resolves once its node is ready. */
  static async start({ program, whole }: RealPrograms, port?: number): Promise<RealCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-kube-'));
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      K8S_PORT: String(await freeRow(port)),
      K8S_DIR: folder,
      // 10.0 is that of Services. Pods of two clusters would meet on this machine, where stand-ins have their addresses.
      K8S_CIDR: `10.${16 + Math.floor(Math.random() * 239)}.0.0/16`,
      K8S_BIN: program(folder),
      ...(!whole && { K8S_PARTS: '' }),
    };
    const cluster = new RealCluster(folder, env);
    try {
      await cluster.#run('start');
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  /** Ends the API server alone; everything else goes on as it can. */
  async stopApi(): Promise<void> {
    await this.#run('stop-api');
  }

  /** Starts it again; resolves once it is ready. */
  async startApi(): Promise<void> {
    await this.#run('start-api');
  }

  /** Ends everything and removes what it kept. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#keeper.finish();
  }

  /** The parts that it starts stay in its process group, by which the keeper ends them. */
  async #run(command: string): Promise<void> {
    const child = spawn('bash', [script, command], {
      env: this.#env,
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    if (child.pid !== undefined) this.#groups.push(child.pid);
    this.#keeper.watch(this.#groups);
    const told = text(child.stderr);
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`k8s.sh ${command} ended with ${code}: ${await told}`);
    child.stderr.destroy();
  }
}

/** The first of some free ports in a row. */
async function freeRow(wanted?: number): Promise<number> {
  for (let from = wanted; ; from = undefined) {
    const [first = 0] = await freePorts(1, from);
    const row = Array.from({ length: portsInARow }, (_, index) => first + index);
    const free = await Promise.all(row.map((port) => freePorts(1, port)));
    if (free.every(([port], index) => port === row[index])) return first;
  }
}

/** What `npm run kube -- build` has built, if it has. */
export function builtCluster(): RealPrograms | undefined {
  const version = /^\s*k8s\.io\/kubernetes (v\S+)/m.exec(
    readFileSync(join(import.meta.dirname, 'real/go.mod'), 'utf8'),
  )?.[1];
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  const program = process.env['K8S_BIN'] ?? join(cache, 'peers', `kubelab-${version}`);
  return isProgram(program) ? { program: () => program, whole: true } : undefined;
}

/** etcd and kube-apiserver in the folder that `setup-envtest` makes. */
export function envtestCluster(folder: string): RealPrograms {
  for (const name of ['etcd', 'kube-apiserver']) {
    if (!isProgram(join(folder, name))) throw new Error(`KUBEBUILDER_ASSETS: no program ${name} in ${folder}`);
  }
  return {
    program: (own) => {
      const program = join(own, 'kubelab');
      writeFileSync(program, `#!/bin/sh\nname=$1\nshift\nexec "${folder}/$name" "$@"\n`, { mode: 0o755 });
      return program;
    },
    whole: false,
  };
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // Not there, or not ours to run.
  }
}
