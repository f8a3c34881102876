import { describe, expect, it } from 'vitest';
import { MillraceError } from '../../core/contracts/errors.ts';
import { CallbackGuard } from '../../core/delivery/callback-guard.ts';
import { allowedUrls, hostAddresses, refusedUrls } from '../support/callback-urls.ts';

async function verdict(url: string, allow: string[] = []): Promise<'allowed' | 'refused'> {
  const guard = new CallbackGuard(allow, async (hostname) => {
    const addresses = hostAddresses[hostname.replace(/\.$/, '')];
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

/** What many have for a guard: an address in the URL is looked at, a name is believed. */
function byName(text: string): 'allowed' | 'refused' {
  const url = URL.parse(text);
  const isPrivate = /^(localhost|127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|\[::1\])/;
  return url && /^https?:$/.test(url.protocol) && !isPrivate.test(url.hostname) ? 'allowed' : 'refused';
}

describe('where callbacks may go', () => {
  it('is more than a guard that goes by names can tell', () => {
    const missed = refusedUrls.filter((url) => byName(url) === 'allowed');
    for (const url of [
      'http://[::ffff:a9fe:a9fe]/',
      'http://metadata.test/',
      'http://mixed.test/',
      'http://100.64.0.1/',
    ])
      expect(missed).toContain(url);
    expect(missed.length).toBeGreaterThan(40);
  });

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
