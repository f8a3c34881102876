import { mkdtempSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeptSecrets } from '../../plugins/providers/process/kept-secrets.ts';
import { processBench, script } from '../contract/process-bench.ts';
import { send, setup, textOf } from '../support/process-calls.ts';
import { seed } from '../support/promise.ts';

/** A folder with the secrets `a` and `b`. */
function secretsPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'millrace-test-secrets-'));
  for (const name of ['a', 'b']) writeFileSync(join(folder, name), `the secret ${name}`);
  return folder;
}

describe('the secrets of a function', () => {
  it('are files that it finds under SECRETS_PATH: its own, and in a folder for nobody else', async () => {
    const bench = await setup({ secretsPath: secretsPath() });
    const text = 'cat "$SECRETS_PATH/a"; echo; ls "$SECRETS_PATH"; echo "$SECRETS_PATH"';
    const entry = await bench.deployReady('f.test', { ...script(text), secrets: ['a'] });
    const [secret, files, folder = ''] = (await textOf(await send(entry))).split('\n');
    expect([secret, files]).toEqual(['the secret a', 'a']);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    await bench.provider.remove('f.test');
    await expect.poll(() => statSync(folder, { throwIfNoEntry: false })).toBeUndefined();
  });
  it('change where the operator changes them', async () => {
    const folder = secretsPath();
    const bench = await setup({ secretsPath: folder });
    const entry = await bench.deployReady('f.test', { ...script('cat "$SECRETS_PATH/a"'), secrets: ['a'] });
    writeFileSync(join(folder, 'a'), 'rotated');
    expect(await textOf(await send(entry))).toBe('rotated');
  });
  it.each(['c', '../a', '..', '.hidden', 'a/b', '', 'a\0', 'folder'])('cannot be %j', async (name) => {
    const folder = secretsPath();
    await mkdir(join(folder, 'folder'));
    const bench = await setup({ secretsPath: folder });
    const deploying = bench.deployFunction('f.test', { command: 'cat', secrets: ['a', name] });
    await expect(deploying).rejects.toThrow(`function f.test: secret ${JSON.stringify(name)}: `);
  });
  it('need a folder to come from', async () => {
    const bench = await setup();
    const deploying = bench.deployFunction('f.test', { command: 'cat', secrets: ['a'] });
    await expect(deploying).rejects.toThrow('secret "a": the provider has no secretsPath');
  });
});

describe('the link to all secrets', () => {
  it('is made where it is asked for, and is left as it is when it leads there already', async () => {
    const folder = secretsPath();
    const link = join(mkdtempSync(join(tmpdir(), 'millrace-test-link-')), 'openfaas/secrets');
    await setup({ secretsPath: folder, secretsLink: link });
    await setup({ secretsPath: folder, secretsLink: link });
    expect(readlinkSync(link)).toBe(folder);
    expect(readFileSync(join(link, 'a'), 'utf8')).toBe('the secret a');
    await expect(processBench({ secretsPath: secretsPath(), secretsLink: link })).rejects.toThrow('leads elsewhere');
    await expect(processBench({ secretsPath: folder, secretsLink: join(folder, 'a/b') })).rejects.toThrow(
      'cannot be made',
    );
    await expect(processBench({ secretsLink: link })).rejects.toThrow('secretsLink needs secretsPath');
  });
});

// Fission CVE-2026-50567, -50568, faasd PR #71: the name of a secret led out of the folder of secrets.
describe('a secret that is kept', () => {
  it('is a file of its namespace and nothing else, whatever it is called', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-test-kept-'));
    const secrets = new KeptSecrets(join(folder, 'kept'));
    const names = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.stringMatching(/^[a-z]{1,3}$/),
      fc.stringMatching(/^[a-z./%\\]{1,12}$/),
      fc.constantFrom('..', '.', '../x', '../kept-evil/x', 'a/../../x', '%2e%2e', 'a\0', 'ab', 'a.b', 'ａ'),
    );
    let made = 0;
    const property = fc.asyncProperty(names, names, async (namespace, name) => {
      const written = await secrets.create({ namespace, name }, Buffer.from('x')).catch((error: unknown) => error);
      if (written instanceof Error) expect(written).toMatchObject({ code: 'request.invalid' });
      else if (written === true) made++;
    });
    await fc.assert(property, { numRuns: 500, seed });
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    expect(files).toHaveLength(made);
    expect(made).toBeGreaterThan(10);
    for (const { parentPath, name } of files) {
      expect(relative(folder, join(parentPath, name)).split('/')).toEqual(['kept', expect.any(String), name]);
      expect(statSync(join(parentPath, name)).mode & 0o777).toBe(0o400);
    }
  });
  it('replaces a link instead of what that leads to', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-test-kept-'));
    const secrets = new KeptSecrets(folder);
    const secret = { namespace: 'a', name: 'key' };
    await mkdir(join(folder, 'a'));
    writeFileSync(join(folder, 'target'), 'untouched');
    symlinkSync('../target', join(folder, 'a/key'));
    expect(await secrets.create(secret, Buffer.from('new'))).toBe(false);
    expect(await secrets.update(secret, Buffer.from('new'))).toBe(true);
    expect(readFileSync(join(folder, 'target'), 'utf8')).toBe('untouched');
    expect(readFileSync(join(folder, 'a/key'), 'utf8')).toBe('new');
  });
});
