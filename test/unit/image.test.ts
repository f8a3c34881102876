import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import lock from '../../package-lock.json' with { type: 'json' };
import manifest from '../../package.json' with { type: 'json' };
import build from '../../tsconfig.build.json' with { type: 'json' };
import { shippedManifests, the } from '../support/chart.ts';

const root = join(import.meta.dirname, '../..');
const text = readFileSync(join(root, 'Dockerfile'), 'utf8');
const ignored = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n');

interface Instruction {
  readonly word: string;
  readonly rest: string;
}

/** The instructions of each stage; what stands before the first is a stage of its own. */
function stagesOf(dockerfile: string): Instruction[][] {
  const lines = dockerfile
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n');
  const stages: Instruction[][] = [[]];
  for (const line of lines.filter((one) => one.trim() !== '')) {
    const [, word = '', rest = ''] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
    if (word === 'FROM') stages.push([]);
    stages.at(-1)?.push({ word, rest });
  }
  return stages;
}

function all(stage: readonly Instruction[], word: string): string[] {
  return stage.filter((one) => one.word === word).map(({ rest }) => rest);
}

/** What the build would copy from here and cannot: it is not there, or kept from it. */
function notThere(stages: readonly Instruction[][]): string[] {
  return stages
    .flatMap((stage) => all(stage, 'COPY'))
    .filter((rest) => !rest.startsWith('--from='))
    .flatMap((rest) => rest.split(/\s+/).slice(0, -1))
    .filter((source) => !existsSync(join(root, source)) || !ignored.includes(`!${source}`));
}

/** What no image of ours may do. */
function faultsOf(stages: readonly Instruction[][]): string[] {
  const last = stages.at(-1) ?? [];
  const found: string[] = [];
  if (!/^[1-9]\d*:[1-9]\d*$/.test(all(last, 'USER').at(-1) ?? '')) found.push('runs as root');
  for (const { word, rest } of stages.flat()) {
    if (word === 'ADD') found.push('adds what nobody has looked at');
    if (word === 'RUN' && /\b(curl|wget|sudo)\b/.test(rest)) found.push('fetches by hand');
    if (word === 'RUN' && /npm (ci|install|prune)\b(?!.*--ignore-scripts)/.test(rest))
      found.push('runs scripts of packages');
    if (/^(ENTRYPOINT|CMD)$/.test(word) && !rest.startsWith('[')) found.push('has a shell between it and its signals');
    if (/^(ENV|ARG)$/.test(word) && /token|password|secret/i.test(rest)) found.push('keeps a secret');
  }
  return found;
}

describe('the image', () => {
  const stages = stagesOf(text);
  const [before = [], building = [], last = []] = stages;

  it('has what it copies, and no fault', () => {
    expect(stages).toHaveLength(3);
    expect(ignored).toContain('*');
    expect(notThere(stages)).toEqual([]);
    expect(faultsOf(stages)).toEqual([]);
  });

  it('is built from what is published, by the release of Node that the tests run on', () => {
    const sources = all(building, 'COPY').flatMap((rest) => rest.split(/\s+/).slice(0, -1));
    expect(sources).toEqual(expect.arrayContaining(build.include));
    expect(manifest.scripts.build).toContain('tsc -p tsconfig.build.json');
    expect(all(before, 'ARG')).toEqual([`NODE=node:${lock.packages['node_modules/node'].version}-slim`]);
    expect(stages.slice(1).map(([from]) => from?.rest.split(' ')[0])).toEqual(['${NODE}', '${NODE}']);
  });

  it('has the packages that the kinds mqtt and kubernetes load', () => {
    const tools = new Set(['fast-check', 'vitest']);
    const peers = Object.entries(manifest.peerDependencies).filter(([name]) => !tools.has(name));
    expect(all(building, 'ARG')).toEqual([`PEERS="${peers.map(([name, range]) => `${name}@${range}`).join(' ')}"`]);
    expect(all(building, 'RUN').join('\n')).toContain('npm install --save-prod --omit=dev --ignore-scripts $PEERS');
  });

  it('starts what the chart starts: by the same user, on the same ports, from the same file', () => {
    const { spec } = the('Deployment', shippedManifests()).spec.template;
    const [gateway] = spec.containers;
    expect(all(last, 'USER')).toEqual([`${spec.securityContext.runAsUser}:${spec.securityContext.runAsGroup}`]);
    const ports: number[] = gateway.ports.map(({ containerPort }: { containerPort: number }) => containerPort);
    expect(all(last, 'EXPOSE')).toEqual([ports.join(' ')]);
    expect(all(last, 'HEALTHCHECK')[0]).toContain(`http://127.0.0.1:${ports[1]}/healthz`);
    expect(parse(all(last, 'CMD')[0] ?? '')).toEqual(gateway.args);
    expect(parse(all(last, 'ENTRYPOINT')[0] ?? '')).toEqual(['node', join('/app', manifest.bin.millrace)]);
    expect(all(last, 'WORKDIR')).toEqual(['/app']);
  });

  it.each([
    ['USER 10001:10001', 'USER node', 'runs as root'],
    ['USER 10001:10001', 'USER 0:0', 'runs as root'],
    ['COPY core core', 'ADD https://example.org/core.tar core', 'adds what nobody has looked at'],
    ['npm ci --ignore-scripts', 'npm ci', 'runs scripts of packages'],
    ['CMD ["serve", "--config", "/etc/millrace/millrace.yaml"]', 'CMD serve', 'has a shell between it and its signals'],
    ['ENV NODE_ENV=production', 'ENV NATS_TOKEN=x NODE_ENV=production', 'keeps a secret'],
  ])('would be found out with %s as %s', (right, wrong, fault) => {
    expect(text).toContain(right);
    expect(faultsOf(stagesOf(text.replace(right, wrong)))).toEqual([fault]);
  });

  it('would be found out when it copied what is not there', () => {
    expect(notThere(stagesOf(text.replace('COPY core core', 'COPY core test nowhere ./')))).toEqual([
      'test',
      'nowhere',
    ]);
  });
});
