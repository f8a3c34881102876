import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { faasCli } from '../support/openfaas.ts';
import { startGateway, stopGateway } from '../support/gateway-process.ts';
import { itemsOf } from '../support/kube/rules-world.ts';
import type { KubeWorld } from '../support/kube/worlds.ts';
import type { KubeObject } from '../support/kube/fake-objects.ts';
import type { AcceptedCall, History } from './checker.ts';
import { AsyncCallers, PodLedger } from './kube-calls.ts';
import { readLedgers } from './ledgers.ts';
import { seeded } from './random.ts';

export interface KubePlan {
  readonly seed: number;
  readonly steps: number;
  /** Makes the cluster, whose pods do what these images say. */
  readonly world: (images: Readonly<Record<string, ReturnType<PodLedger['handler']>>>) => Promise<KubeWorld>;
  /** Attempts of a call; 1 is the planted bug: a pod that is killed then takes its calls along. */
  readonly attempts?: number;
  /** Only these, in turn; otherwise all of them at random. */
  readonly only?: readonly Step[];
  readonly log?: (text: string) => void;
}

const stepShares = {
  deploy: 20,
  update: 12,
  scale: 20,
  kill: 20,
  delete: 10,
  foreign: 4,
  break: 8,
  restart: 2,
  away: 3,
  forget: 4,
} as const;
type Step = keyof typeof stepShares;

/** What came of the steps. */
export interface KubeRun {
  readonly history: History;
  readonly done: Readonly<Partial<Record<Step, number>>>;
  /** What is in the cluster at the end, and should not be, or the other way round. */
  readonly cluster: readonly string[];
  readonly missing: number;
  /** Calls that came to pods of other functions. */
  readonly strays: number;
}

const healthy = ['alpha', 'beta', 'gamma', 'delta'];
const dying = 'omega';
const names = [...healthy, dying];
const deadline = 30_000;

/**
 * A gateway on a cluster whose functions are deployed, updated, scaled, deleted, and whose pods, watches and API server are
 * struck, in random steps, while calls are accepted all the time. At the end everything is deployed, and all calls end.
 */
export async function kubeRun({
  seed,
  steps,
  world: makeWorld,
  attempts = 1000,
  only,
  log,
}: KubePlan): Promise<KubeRun> {
  const random = seeded(seed);
  const ledger = new PodLedger();
  const images = {
    'test/ok:1': ledger.handler(200, 40),
    'test/ok:2': ledger.handler(200, 40),
    'test/bad:1': ledger.handler(500, 5),
  };
  await using world = await makeWorld(images);
  const home = mkdtempSync(join(tmpdir(), 'millrace-kube-steps-'));
  const config = join(home, 'millrace.yaml');
  writeFileSync(config, configuration(world, home));
  const gateway = await startGateway(config);
  const faas = faasCli(gateway.url);
  const present = new Set<string>();
  const complaints: string[] = [];
  /** How often each may have been made anew, and the Deployments that were seen of it. */
  const mayBeMade = new Map(names.map((name) => [name, 0]));
  const seen = new Map(names.map((name) => [name, new Set<string>()]));
  const done: Partial<Record<Step, number>> = {};
  let broken = 0;
  const callers = new AsyncCallers(gateway.url, names, seeded(seed + 1), 15);
  const pick = <T>(list: readonly T[]): T | undefined => list[Math.floor(random() * list.length)];

  const wished = (name: string, version: number): object => ({
    namespace: world.namespace,
    envVars: { VERSION: String(version), max_inflight: '8' },
    labels: { 'com.openfaas.scale.max': '5' },
    annotations: {
      'com.openfaas.retry.attempts': String(name === dying ? 3 : attempts),
      'com.openfaas.retry.min_wait': '20ms',
      'com.openfaas.retry.max_wait': '300ms',
    },
  });
  const deploy = async (name: string, version: number): Promise<void> => {
    const image = name === dying ? 'test/bad:1' : `test/ok:${1 + (version % 2)}`;
    if (!present.has(name)) mayBeMade.set(name, (mayBeMade.get(name) ?? 0) + 1);
    const { status, text } = await faas.deploy(name, image, { ...wished(name, version) });
    if (status === 202 || status === 200) present.add(name);
    else complaints.push(`deploy of ${name}: ${status} ${text}`);
  };

  const acts: Record<Step, () => Promise<unknown>> = {
    deploy: async () => deploy(pick(names.filter((name) => !present.has(name))) ?? pick(names) ?? '', 1),
    update: async () => {
      const name = pick([...present]);
      if (name !== undefined) await deploy(name, Math.floor(random() * 100));
    },
    scale: async () => {
      const name = pick([...present]);
      if (name === undefined) return;
      const replicas = Math.floor(random() * 4);
      const path = `/system/scale-function/${name}?namespace=${world.namespace}`;
      const { status, text } = await faas.send('POST', path, {
        serviceName: name,
        replicas,
        namespace: world.namespace,
      });
      if (status !== 202) complaints.push(`scale of ${name}: ${status} ${text}`);
    },
    kill: async () => {
      const pod = pick(itemsOf(await world.api.get(`/api/v1/namespaces/${world.namespace}/pods`)));
      if (pod) broken += await world.killPod(pod.metadata.name);
    },
    delete: async () => {
      const name = pick([...present]);
      if (name === undefined) return;
      const { status, text } = await faas.send('DELETE', '/system/functions', {
        functionName: name,
        namespace: world.namespace,
      });
      if (status === 202) present.delete(name);
      else complaints.push(`delete of ${name}: ${status} ${text}`);
    },
    // As somebody with kubectl does it.
    foreign: async () => {
      const name = pick([...present]);
      if (name === undefined) return;
      const path = `/apis/apps/v1/namespaces/${world.namespace}/deployments/${name}`;
      await world.api.merge(path, { spec: { template: { metadata: { annotations: { touched: String(random()) } } } } });
    },
    break: async () => world.gate.breakOff(),
    restart: async () => world.restartApi(),
    away: async () => {
      await world.gate.shut();
      await delay(300 + random() * 1200);
      await world.gate.open();
    },
    forget: async () => {
      world.fake?.compact();
      world.gate.breakOff();
    },
  };

  const look = async (): Promise<void> => {
    for (const { metadata } of itemsOf(
      await world.api.get(`/apis/apps/v1/namespaces/${world.namespace}/deployments`),
    )) {
      seen.get(metadata.name)?.add(metadata.uid);
    }
  };

  try {
    for (const name of names) await deploy(name, 1);
    for (let step = 0; step < steps; step++) {
      const kind = only ? only[step % only.length] : pickStep(random);
      if (kind === undefined) break;
      const startedAt = performance.now();
      await acts[kind]();
      await look();
      done[kind] = (done[kind] ?? 0) + 1;
      const ms = performance.now() - startedAt;
      if (step % 50 === 49) log?.(`step ${step + 1}: ${callers.accepted.length} accepted, ${present.size} deployed`);
      // How long the API server takes to start is the machine's affair.
      if (ms > deadline && kind !== 'restart') complaints.push(`${kind} took ${(ms / 1000).toFixed()} s`);
      await delay(random() * 40);
    }
    for (const name of names) await deploy(name, 1);
    for (const name of healthy) {
      const path = `/system/scale-function/${name}?namespace=${world.namespace}`;
      await faas.send('POST', path, { serviceName: name, replicas: 1, namespace: world.namespace });
    }
    await look();
    await callers.stop();
    const told = await readLedgers(gateway, callers.accepted);
    const cluster = await mismatches(world, seen, mayBeMade);
    const code = await stopGateway(gateway);
    if (code !== 0) complaints.push(`the gateway ended with ${code}: ${gateway.log.slice(-5).join('\n')}`);
    // One of few attempts may use them up without having run: its function was not there, or its pods refused.
    const ran = new Set(ledger.executions.map(({ callId }) => callId));
    const dead = new Set(told.dead.map(({ id }) => id));
    const isSpent = ({ function: name, id, callId }: AcceptedCall): boolean =>
      name === dying && dead.has(id) && !ran.has(callId);
    const history: History = {
      ...told,
      accepted: callers.accepted.filter((call) => !isSpent(call)),
      unknown: callers.unknown,
      executions: ledger.executions,
      attemptsOf: Object.fromEntries(names.map((name) => [name, name === dying ? 3 : 1])),
      dying: new Set([dying]),
      kills: 0,
      atRisk: broken,
      complaints: [...complaints, ...callers.complaints],
    };
    return { history, done, cluster, missing: callers.missing, strays: ledger.strays };
  } finally {
    gateway.child.kill('SIGKILL');
    await gateway.ended;
    rmSync(home, { recursive: true, force: true });
  }
}

function pickStep(random: () => number): Step {
  let left = random() * Object.values(stepShares).reduce((sum, share) => sum + share, 0);
  for (const [step, share] of Object.entries(stepShares)) {
    left -= share;
    if (left < 0) return step as Step;
  }
  return 'deploy';
}

/** Each function has one Deployment and one Service, and none was made more often than somebody asked for it. */
async function mismatches(
  { api, namespace }: KubeWorld,
  seen: ReadonlyMap<string, ReadonlySet<string>>,
  mayBeMade: ReadonlyMap<string, number>,
): Promise<string[]> {
  const nameOf = ({ metadata }: KubeObject): string => metadata.name;
  const wrong: string[] = [];
  for (const path of ['/apis/apps/v1/namespaces/NS/deployments', '/api/v1/namespaces/NS/services']) {
    const found = itemsOf(await api.get(path.replace('NS', namespace))).map(nameOf);
    if (found.toSorted().join() !== names.toSorted().join()) wrong.push(`${path}: ${found.join()}`);
  }
  for (const [name, uids] of seen) {
    const most = mayBeMade.get(name) ?? 0;
    if (uids.size > most) wrong.push(`${name} was made ${uids.size} times, and asked for ${most} times`);
  }
  return wrong;
}

function configuration({ kubeconfig, namespace }: KubeWorld, home: string): string {
  return `
gateway:
  listen: { port: 0 }
  management: { port: 0 }
  namespace: ${namespace}
  auth: none
# Work of a function that is not there waits for eight minutes.
policies: { retry: { standard: { attempts: 1000, backoff: { kind: fixed, initial: 500ms } } } }
queues: { default: { kind: sqlite, path: ${home}/queue.db } }
stores: { default: { kind: sqlite, path: ${home}/store.db } }
providers:
  cluster:
    kind: kubernetes
    kubeconfig: ${kubeconfig}
    namespaces: [${namespace}]
    allowDeploy: true
connectors: { http: { kind: http } }
observability: { logs: { format: json, level: info } }
`;
}
