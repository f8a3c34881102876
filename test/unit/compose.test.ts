import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import manifest from '../../package.json' with { type: 'json' };
import { loadConfig } from '../../core/config/load.ts';
import { parseDuration } from '../../core/config/units.ts';
import { builtIns, testDefaults } from '../support/gateway.ts';

const folder = join(import.meta.dirname, '../../deploy/compose');
const text = readFileSync(join(folder, 'compose.yaml'), 'utf8');

interface Service {
  readonly image: string;
  readonly build?: string;
  readonly user?: string;
  readonly stop_grace_period?: string;
  readonly ports?: readonly string[];
  readonly networks: readonly string[];
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly privileged?: boolean;
  readonly mem_limit?: string;
  readonly healthcheck?: object;
  readonly volumes?: readonly { readonly type: string; readonly source: string; readonly target: string }[];
  readonly secrets?: readonly string[];
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { readonly internal?: boolean }>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
}

/** What no container of ours may do. */
function weaknessesOf({ services, networks }: Compose): string[] {
  return Object.entries(services).flatMap(([name, service]) => {
    const found: string[] = [];
    if (!service.read_only) found.push('may write its root');
    if (service.cap_drop?.join() !== 'ALL') found.push('has capabilities');
    if (!service.security_opt?.includes('no-new-privileges:true')) found.push('may gain privileges');
    if (service.privileged) found.push('is privileged');
    if (!service.mem_limit) found.push('may take all memory');
    if (!service.healthcheck) found.push('is not looked at');
    if (/:latest$|^[^:]+$/.test(service.image)) found.push('is of no release');
    if (service.ports?.some((port) => !port.startsWith('127.0.0.1:'))) found.push('is reached from other machines');
    // What has no password of its own.
    if (!service.build && !service.networks.every((network) => networks[network]?.internal))
      found.push('is reached by others');
    return found.map((fault) => `${name} ${fault}`);
  });
}

describe('the compose file', () => {
  const compose = parse(text) as Compose;
  const { gateway, nats } = compose.services;

  it('confines what it runs', () => {
    expect(weaknessesOf(compose)).toEqual([]);
  });

  it.each([
    ['read_only: true', 'read_only: false', 'gateway may write its root'],
    ['cap_drop: [ALL]', 'cap_drop: [NET_RAW]', 'gateway has capabilities'],
    ['"no-new-privileges:true"', '"label:disable"', 'gateway may gain privileges'],
    ['mem_limit: 512m', 'pids_limit: 9', 'nats may take all memory'],
    ['nats:2.12-alpine', 'nats:latest', 'nats is of no release'],
    ['"127.0.0.1:8080:8080"', '"8080:8080"', 'gateway is reached from other machines'],
    ['networks: [broker]', 'networks: [outside]', 'nats is reached by others'],
  ])('would be found out with %s as %s', (right, wrong, fault) => {
    expect(text).toContain(right);
    expect(weaknessesOf(parse(text.replace(right, wrong)) as Compose)).toEqual([fault]);
  });

  it('has a configuration that is right, and the time that it takes to stop', async () => {
    const secrets = mkdtempSync(join(tmpdir(), 'millrace-compose-'));
    const mounted = '/run/secrets';
    const yaml = readFileSync(join(folder, 'gateway/millrace.yaml'), 'utf8');
    expect(yaml).toContain(`secretMountPath: ${mounted} }`);
    mkdirSync(join(secrets, 'functions'));
    writeFileSync(join(secrets, 'functions/hello.ts'), readFileSync(join(folder, 'gateway/functions/hello.ts')));
    for (const name of gateway?.secrets ?? []) writeFileSync(join(secrets, name), 'x');
    const file = join(secrets, 'millrace.yaml');
    writeFileSync(file, yaml.replace(mounted, secrets));
    const { config, problems } = await loadConfig(file, builtIns(), testDefaults, {});
    rmSync(secrets, { recursive: true });
    expect(problems).toEqual([]);
    const { notice, drain } = config?.gateway.shutdown ?? { notice: NaN, drain: NaN };
    expect(parseDuration(gateway?.stop_grace_period ?? '')).toBe(notice + drain + 20_000);
  });

  it('runs the image of this release', () => {
    expect(gateway?.image).toBe(`\${MILLRACE_IMAGE:-millrace:${manifest.version}}`);
  });

  it('mounts what is there, where it is looked for', () => {
    expect(gateway?.volumes).toEqual([{ type: 'bind', source: './gateway', target: '/etc/millrace', read_only: true }]);
    expect(gateway?.secrets).toEqual(Object.keys(compose.secrets));
    const [configuration, storage] = nats?.volumes ?? [];
    const conf = readFileSync(join(folder, configuration?.source ?? ''), 'utf8');
    expect(conf).toContain(`store_dir: ${storage?.target}\n`);
    // Not a server that only says that it has written.
    expect(conf).toContain('sync_interval: always');
  });
});
