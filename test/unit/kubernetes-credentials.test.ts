import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Credentials } from '../../plugins/providers/kubernetes/credentials.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-kubeconfig-'));

function kubeconfig(cluster: string, context = '{cluster: one, user: me}'): string {
  const file = join(folder, `${Math.random()}.yaml`);
  writeFileSync(
    file,
    `apiVersion: v1
kind: Config
current-context: here
clusters: [{name: one, cluster: ${cluster}}]
users: [{name: me, user: {token: secret}}]
contexts: [{name: here, context: ${context}}]
`,
  );
  return file;
}

describe('who the gateway is to a cluster', () => {
  it('is read of a kubeconfig file', async () => {
    const file = kubeconfig('{server: "https://127.0.0.1:6443/under/path"}');
    const credentials = await Credentials.load({ kubeconfig: file }, '/');
    expect(credentials.server.href).toBe('https://127.0.0.1:6443/under/path');
    expect((await credentials.sign()).headers).toEqual({ Authorization: 'Bearer secret' });
    await credentials.close();
  });

  it.each([
    ['a file that is not there', () => ({ kubeconfig: 'no-such-file' }), /no-such-file: ENOENT/],
    ['no file, outside of a cluster', () => ({}), /name a kubeconfig file/],
    [
      'a context that the file has not',
      () => ({ kubeconfig: kubeconfig('{server: "https://127.0.0.1"}'), context: 'there' }),
      /no context "there"/,
    ],
    [
      'a server without TLS that nobody has said to be one',
      () => ({ kubeconfig: kubeconfig('{server: "http://127.0.0.1:8080"}') }),
      /http:\/\/127\.0\.0\.1:8080 has no TLS/,
    ],
    [
      'a server that is not asked over HTTP',
      () => ({ kubeconfig: kubeconfig('{server: "ahttps://127.0.0.1"}') }),
      /ahttps:\/\/127\.0\.0\.1 is no https/,
    ],
  ])('cannot be known by %s', async (_text, address, message) => {
    await expect(Credentials.load(address(), folder)).rejects.toMatchObject({
      code: 'config.invalid',
      message: expect.stringMatching(message),
    });
  });
});
