import { mkdtempSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { request } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';

const echo = join(import.meta.dirname, '../fixtures/functions/echo.ts');
const slow = join(import.meta.dirname, '../fixtures/functions/slow.ts');
const root = join(import.meta.dirname, '../..');

let running: GatewayProcess | undefined;
afterEach(async () => {
  if (running) expect(await stopGateway(running)).toBe(0);
  running = undefined;
});

const folderOf = (): string => mkdtempSync(join(tmpdir(), 'millrace-reload-'));
const yamlOf = (names: readonly string[], more = '', reload = '{ debounce: 100ms }'): string => `
gateway: { listen: { port: 0 }, management: { port: 0 }, reload: ${reload}${more} }
queues: { default: { kind: memory, allowVolatile: true } }
stores: { default: { kind: memory } }
functions: { ${names.map((name) => `${name}: { module: ${echo} }`).join(', ')} }
`;
/** As most editors, and every deployment tool, save a file. */
function replace(file: string, text: string): void {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}
async function start(file: string): Promise<GatewayProcess> {
  running = await startGateway(file);
  return running;
}
const statusOf = async ({ url }: GatewayProcess, name: string): Promise<number> => {
  const { statusCode, body } = await request(`${url}/function/${name}`, { method: 'POST', body: '300' });
  await body.dump();
  return statusCode;
};
const answered = (gateway: GatewayProcess, name: string, status = 200): Promise<void> =>
  expect.poll(() => statusOf(gateway, name), { timeout: 20_000 }).toBe(status);
const logged = ({ log }: GatewayProcess, text: string, times = 1): Promise<void> =>
  expect
    .poll(() => log.filter((line) => line.includes(text)).length, { timeout: 20_000 })
    .toBeGreaterThanOrEqual(times);

describe('SIGHUP', () => {
  it('has the file read again, and a bad one changes nothing', async () => {
    const file = join(folderOf(), 'millrace.yaml');
    writeFileSync(file, yamlOf(['a'], '', '{ watch: false }'));
    const gateway = await start(file);
    expect([await statusOf(gateway, 'a'), await statusOf(gateway, 'b')]).toEqual([200, 404]);

    writeFileSync(file, yamlOf(['b'], '', '{ watch: false }'));
    gateway.child.kill('SIGHUP');
    await answered(gateway, 'b');
    await answered(gateway, 'a', 404);

    writeFileSync(file, yamlOf(['b'], ', nonsense: 1', '{ watch: false }'));
    gateway.child.kill('SIGHUP');
    await logged(gateway, 'the configuration was not taken up');
    expect(gateway.log.find((line) => line.includes('not taken up'))).toMatch(/millrace\.yaml:2:\d+.*nonsense/);
    expect([await statusOf(gateway, 'a'), await statusOf(gateway, 'b')]).toEqual([404, 200]);
    const metrics = await (await request(`${gateway.management}/metrics`)).body.text();
    expect(metrics).toContain('millrace_config_reloads_total{result="ok"} 1');
    expect(metrics).toContain('millrace_config_reloads_total{result="invalid"} 1');
  });

  it('that comes many times at once while calls run drops none of them', async () => {
    const file = join(folderOf(), 'millrace.yaml');
    const yaml = (names: readonly string[]): string =>
      yamlOf(names, '', '{ watch: false }').replace('functions: {', `functions: { slow: { module: ${slow} },`);
    writeFileSync(file, yaml(['a']));
    const gateway = await start(file);
    expect(await statusOf(gateway, 'slow')).toBe(200);
    const calls = Array.from({ length: 4 }, () => statusOf(gateway, 'slow'));
    for (let n = 0; n < 10; n++) {
      writeFileSync(file, yaml(['a', `b${n}`]));
      gateway.child.kill('SIGHUP');
      calls.push(statusOf(gateway, 'a'));
    }
    await answered(gateway, 'b9'); // Whatever was read on the way, the last one is in force.
    expect(await Promise.all(calls)).toEqual(calls.map(() => 200));
  });
});

describe('a file that changes', () => {
  it('is taken up, however it is saved', async () => {
    const file = join(folderOf(), 'millrace.yaml');
    writeFileSync(file, yamlOf(['a']));
    const gateway = await start(file);
    replace(file, yamlOf(['a', 'b']));
    await answered(gateway, 'b');
    writeFileSync(file, yamlOf(['a', 'c']));
    await answered(gateway, 'c');
    rmSync(file);
    await logged(gateway, 'cannot be read');
    expect(await statusOf(gateway, 'c')).toBe(200);
    replace(file, yamlOf(['a', 'd']));
    await answered(gateway, 'd');
  });

  it('is told once while it is wrong, and taken up once it is mended', async () => {
    const file = join(folderOf(), 'millrace.yaml');
    writeFileSync(file, yamlOf(['a']));
    const gateway = await start(file);
    replace(file, yamlOf(['a', 'b'], ', nonsense: 1'));
    await logged(gateway, 'not taken up');
    replace(file, yamlOf(['a', 'b']));
    await answered(gateway, 'b');
    expect(gateway.log.filter((line) => line.includes('not taken up'))).toHaveLength(1);
  });

  it('may be one that is included, also one that was not there', async () => {
    const folder = folderOf();
    const file = join(folder, 'millrace.yaml');
    mkdirSync(join(folder, 'more'));
    const part = (name: string): string => `functions: { ${name}: { module: ${echo} } }\n`;
    writeFileSync(join(folder, 'more/one.yaml'), part('b'));
    writeFileSync(file, `include: [more/*.yaml]\n${yamlOf(['a'])}`);
    const gateway = await start(file);
    expect(await statusOf(gateway, 'b')).toBe(200);
    replace(join(folder, 'more/one.yaml'), part('c'));
    await answered(gateway, 'c');
    writeFileSync(join(folder, 'more/two.yaml'), part('d'));
    await answered(gateway, 'd');
    rmSync(join(folder, 'more/one.yaml'));
    await answered(gateway, 'c', 404);
    expect([await statusOf(gateway, 'a'), await statusOf(gateway, 'd')]).toEqual([200, 200]);
  });

  it('may be a secret behind a link that is moved, as Kubernetes does it; neither value is logged', async () => {
    const folder = folderOf();
    const file = join(folder, 'millrace.yaml');
    const secret = (n: number, text: string): string => {
      mkdirSync(join(folder, `..${n}`));
      writeFileSync(join(folder, `..${n}`, 'password'), `${text}\n`);
      return `..${n}`;
    };
    symlinkSync(secret(1, 'first-password'), join(folder, '..data'));
    symlinkSync('..data/password', join(folder, 'password'));
    writeFileSync(file, yamlOf(['a'], `, auth: { basic: { user: admin, password: "\${file:password}" } }`));
    const gateway = await start(file);
    const status = async (password: string): Promise<number> => {
      const authorization = `Basic ${Buffer.from(`admin:${password}`).toString('base64')}`;
      return (await request(`${gateway.url}/system/functions`, { headers: { authorization } })).statusCode;
    };
    expect([await status('first-password'), await status('second-password')]).toEqual([200, 401]);
    symlinkSync(secret(2, 'second-password'), join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    await expect.poll(() => status('second-password'), { timeout: 20_000 }).toBe(200);
    expect(await status('first-password')).toBe(401);
    expect(gateway.log.join('\n')).not.toMatch(/(first|second)-password/);
  });

  it('is left alone where the file says so', async () => {
    const file = join(folderOf(), 'millrace.yaml');
    writeFileSync(file, yamlOf(['a']));
    const gateway = await start(file);
    replace(file, yamlOf(['a', 'b'], '', '{ watch: false }'));
    await answered(gateway, 'b');
    replace(file, yamlOf(['a', 'c'], '', '{ watch: false }'));
    await new Promise((resolve) => setTimeout(resolve, 500)); // Five looks, if it still looked.
    expect(await statusOf(gateway, 'c')).toBe(404);
    gateway.child.kill('SIGHUP');
    await answered(gateway, 'c');
  });
});

describe('millrace plan', () => {
  const plan = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
    new Promise((resolve) => {
      const env = { PATH: process.env['PATH'], NO_COLOR: '1' };
      execFile(process.execPath, ['core/main.ts', 'plan', ...args], { cwd: root, env }, (error, out, err) =>
        resolve({ code: error ? Number(error.code) : 0, out, err }),
      );
    });

  it('shows what a reload would do', async () => {
    const folder = folderOf();
    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const old = file('old.yaml', yamlOf(['a', 'b']));
    const wanted = file('new.yaml', yamlOf(['b', 'c'], ', shutdown: { drain: 5s }'));
    const { code, out } = await plan(old, wanted);
    expect(code).toBe(0);
    for (const line of [/gateway\.shutdown +changed/, /functions\.c\S* +added/, /functions\.a\S* +removed/])
      expect(out).toMatch(line);
    expect(out).not.toContain('functions.b');
    expect(readFileSync(old, 'utf8')).toContain('a: {');
    expect(await plan(old, old)).toMatchObject({ code: 0, out: 'nothing changes\n' });
    const json = await plan(old, wanted, '--json');
    expect(JSON.parse(json.out)).toMatchObject({
      valid: true,
      needsRestart: [],
      changes: [
        { path: 'gateway.shutdown', change: 'changed' },
        { path: 'functions.c.openfaas-fn', change: 'added' },
        { path: 'functions.a.openfaas-fn', change: 'removed' },
      ],
    });
  });

  it('says what needs a restart, and what is wrong', async () => {
    const folder = folderOf();
    const old = join(folder, 'old.yaml');
    const wanted = join(folder, 'new.yaml');
    writeFileSync(old, yamlOf(['a']));
    writeFileSync(wanted, yamlOf(['a']).replace('listen: { port: 0 }', 'listen: { port: 9999 }'));
    const restart = await plan(old, wanted);
    expect([restart.code, restart.out]).toEqual([
      1,
      'needs a restart: gateway.listen is read when the gateway starts\n',
    ]);
    writeFileSync(wanted, yamlOf(['a'], ', nonsense: 1'));
    const { code, err } = await plan(old, wanted);
    expect(code).toBe(2);
    expect(err).toMatch(/new\.yaml:2:\d+.*nonsense/);
    const json = await plan(old, wanted, '--json');
    expect(JSON.parse(json.out)).toMatchObject({
      valid: false,
      problems: [{ path: expect.stringContaining('nonsense') }],
    });
    expect((await plan(old)).code).toBe(2);
  });
});

describe('a warning of Node.js', () => {
  it('is a line of the log, and not a text between its lines', async () => {
    const folder = folderOf();
    const file = join(folder, 'millrace.yaml');
    writeFileSync(
      join(folder, 'warns.mjs'),
      "export default async () => { process.emitWarning('mind'); return 'x'; };",
    );
    const functions = 'functions: { warns: { module: warns.mjs, isolation: none } }';
    writeFileSync(file, yamlOf([]).replace('functions: {  }', functions));
    const gateway = await start(file);
    expect(await statusOf(gateway, 'warns')).toBe(200);
    await logged(gateway, '"message":"mind"');
    for (const line of gateway.log) expect(() => JSON.parse(line) as unknown).not.toThrow();
  });

  it('is one also where a process in front is warned', async () => {
    const file = join(folderOf(), 'millrace.yaml');
    writeFileSync(file, yamlOf([], ', processes: 2'));
    // Of each process that there is, some time after its start.
    const late = 'setTimeout(() => process.emitWarning("mind"), 2000).unref()';
    running = await startGateway(file, { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(late)}` });
    const { log } = running;
    const told = (): boolean => log.some((line) => line.includes('"message":"mind"') && line.includes('"front":'));
    await expect.poll(told, { timeout: 20_000 }).toBe(true);
    for (const line of log) expect(() => JSON.parse(line) as unknown).not.toThrow();
  });
});
