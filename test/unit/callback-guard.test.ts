import { describe, expect, it } from 'vitest';
import { MillraceError } from '../../core/contracts/errors.ts';
import { CallbackGuard } from '../../core/delivery/callback-guard.ts';

const names: Record<string, string[]> = {
  'example.com': ['93.184.215.14', '2606:2800:21f:cb07:6820:80da:af6b:8b2c'],
  'private.test': ['10.0.0.7'],
  'metadata.test': ['169.254.169.254'],
  'mixed.test': ['93.184.215.14', '127.0.0.1'],
  'mapped.test': ['::ffff:10.0.0.1'],
  localhost: ['127.0.0.1', '::1'],
  'gateway.openfaas.svc.cluster.local': ['10.96.4.5'],
};

async function verdict(url: string, allow: string[] = []): Promise<'allowed' | 'refused'> {
  const guard = new CallbackGuard(allow, async (hostname) => {
    const addresses = names[hostname.replace(/\.$/, '')];
    if (!addresses) throw new Error(`ENOTFOUND ${hostname}`);
    return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  });
  try {
    const { hostname } = guard.checkUrl(url);
    if (!/^[\d.]+$|^\[/.test(hostname)) await guard.resolve(hostname);
    return 'allowed';
  } catch (error) {
    expect(error).toBeInstanceOf(MillraceError);
    expect((error as MillraceError).code).toBe('callback.refused');
    return 'refused';
  }
}

const refusedUrls = [
  // Loopback and 0/8, in every spelling that URL parsers read as an address.
  'http://127.0.0.1/',
  'http://127.0.0.1:8080/system/functions',
  'http://127.1/',
  'http://127.0.1/',
  'http://2130706433/',
  'http://017700000001/',
  'http://0177.0.0.1/',
  'http://0x7f000001/',
  'http://0x7f.0.0.1/',
  'http://0x7F.1/',
  'http://127.0.0.1./',
  'http://①②⑦.⓪.⓪.①/',
  'http://１２７.０.０.１/',
  'http://127。0。0。1/',
  'http://%31%32%37.0.0.1/',
  'http://0/',
  'http://0.0.0.0/',
  'http://0.1.2.3/',
  'http://localhost/',
  'http://LOCALHOST./',
  'http://[::1]/',
  'http://[0:0:0:0:0:0:0:1]/',
  'http://[::]/',
  'http://[::127.0.0.1]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:7f00:1]/',
  // Link-local and metadata.
  'http://169.254.169.254/latest/meta-data/',
  'http://2852039166/',
  'http://0xa9fea9fe/',
  'http://0251.0376.0251.0376/',
  'http://169.254.43518/',
  'http://169.254.169.254./',
  'http://[::ffff:a9fe:a9fe]/',
  'http://[::ffff:169.254.169.254]/',
  'http://[64:ff9b::a9fe:a9fe]/',
  'http://[64:ff9b:1::a9fe:a9fe]/',
  'http://[2002:a9fe:a9fe::1]/',
  'http://[2001:0:a9fe:a9fe::1]/',
  'http://[fe80::1]/',
  'http://[fd00:ec2::254]/',
  'http://[fec0::1]/',
  'http://100.100.100.200/',
  'http://168.63.129.16/',
  'http://192.0.0.192/',
  'http://metadata.test/',
  // Private, shared, multicast, reserved.
  'http://10.1.2.3/',
  'http://172.16.0.1/',
  'http://172.31.255.254/',
  'http://192.168.1.1/',
  'http://192.168.257/',
  'http://100.64.0.1/',
  'http://[fc00::1]/',
  'http://[fd12:3456::1]/',
  'http://224.0.0.1/',
  'http://[ff02::1]/',
  'http://255.255.255.255/',
  'http://240.0.0.1/',
  'http://198.18.0.1/',
  'http://[2001:db8::1]/',
  'http://private.test/',
  'http://mixed.test/',
  'http://mapped.test/',
  'http://gateway.openfaas.svc.cluster.local:8080/function/x',
  // Spellings that are meant to mislead.
  'http://example.com@127.0.0.1/',
  'http://127.0.0.1#@example.com/',
  'http://user:password@example.com/',
  'http://user@example.com/',
  'http://example.com\\@127.0.0.1/',
  'http://example.com/\r\nHost: 127.0.0.1',
  'http://exam\nple.com/',
  'http://example.com/\tx',
  ' http://example.com/',
  'http://example.com/\u0000',
  'http://[::1%25lo]/',
  'http://exa%00mple.com/',
  // Other schemes and no URLs at all.
  'unix:/var/run/docker.sock',
  'http+unix://%2Fvar%2Frun%2Fdocker.sock/',
  'file:///etc/passwd',
  'ftp://example.com/',
  'gopher://example.com/',
  'data:text/plain,x',
  'javascript:alert(1)',
  'ws://example.com/',
  '//example.com/',
  '/function/x',
  'example.com',
  '',
  'http://',
  'http:///',
  `http://example.com/${'x'.repeat(5000)}`,
  // Ports of other protocols.
  'http://example.com:0/',
  'http://example.com:22/',
  'http://example.com:25/',
  'http://example.com:6379/',
  'http://example.com:11211/',
  'http://example.com:5432/',
  'https://example.com:22/',
  'http://example.com:65536/',
];

const allowedUrls = [
  'http://example.com',
  'https://example.com/hook?x=1',
  'https://example.com./hook',
  'HTTPS://EXAMPLE.COM/',
  'https://example.com:8443/hook',
  'http://example.com:8080/hook',
  'http://example.com#@127.0.0.1/',
  'http://example.com/?next=http://127.0.0.1/',
  'http://example.com/%0d%0aHost:%20127.0.0.1',
  'http://93.184.215.14/',
  'http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/',
  'http://11.0.0.1/',
  'http://172.32.0.1/',
];

describe('where callbacks may go', () => {
  it.each(refusedUrls)('refuses %j', async (url) => {
    expect(await verdict(url)).toBe('refused');
  });

  it.each(allowedUrls)('allows %j', async (url) => {
    expect(await verdict(url)).toBe('allowed');
  });

  it.each([
    ['http://127.0.0.1:9000/', ['127.0.0.0/8'], 'allowed'],
    ['http://127.0.0.1:9000/', ['127.0.0.1'], 'allowed'],
    ['http://127.0.0.2:9000/', ['127.0.0.1'], 'refused'],
    ['http://[::1]:9000/', ['::1'], 'allowed'],
    ['http://localhost:9000/', ['localhost'], 'allowed'],
    ['http://localhost:9000/', ['127.0.0.0/8'], 'refused'],
    ['http://localhost:9000/', ['127.0.0.0/8', '::1/128'], 'allowed'],
    ['http://private.test/', ['10.0.0.0/8'], 'allowed'],
    ['http://private.test/', ['PRIVATE.test'], 'allowed'],
    ['http://private.test./', ['private.test'], 'allowed'],
    ['http://private.test/', ['other.test'], 'refused'],
    ['http://10.0.0.7/', ['private.test'], 'refused'],
    ['http://gateway.openfaas.svc.cluster.local:8080/function/x', ['gateway.openfaas.svc.cluster.local'], 'allowed'],
    ['http://[fd12::1]/', ['fd12::/16'], 'allowed'],
    ['http://[fd00:ec2::254]/', ['fc00::/7'], 'refused'],
    ['http://169.254.169.254/', ['169.254.0.0/16', '0.0.0.0/0'], 'refused'],
    ['http://100.100.100.200/', ['100.64.0.0/10'], 'refused'],
    ['http://metadata.test/', ['metadata.test'], 'refused'],
    ['http://[::ffff:127.0.0.1]/', ['127.0.0.0/8'], 'refused'],
    ['http://private.test:22/', ['private.test'], 'refused'],
  ] as const)('%s with %j is %s', async (url, allow, expected) => {
    expect(await verdict(url, [...allow])).toBe(expected);
  });

  it('refuses an allow list that it does not understand', () => {
    expect(() => new CallbackGuard(['http://x/'])).toThrow(MillraceError);
    expect(() => new CallbackGuard(['10.0.0.0/99'])).toThrow(MillraceError);
  });
});
