import { lookup as systemLookup } from 'node:dns/promises';
import ipaddr from 'ipaddr.js';
import { MillraceError } from '../contracts/errors.ts';

export interface ResolvedAddress {
  readonly address: string;
  readonly family: number;
}

/** All addresses of a host name; rejects when it has none. */
export type Lookup = (hostname: string) => Promise<readonly ResolvedAddress[]>;

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Network = [Address, number];

/** Longer ones are not URLs that anybody meant. */
const maxUrlLength = 4096;

/** Ranges that a host or network in `allow` opens; every other special range stays closed. */
const openable = new Set(['private', 'loopback', 'uniqueLocal', 'carrierGradeNat']);

/** Where clouds keep credentials and settings of their machines; closed even inside an allowed network. */
const metadataAddresses = new Set([
  '169.254.169.254',
  '100.100.100.200', // Alibaba
  '168.63.129.16', // Azure
  '192.0.0.192', // Oracle
  'fd00:ec2::254', // AWS
  'fd20:ce::254', // Google
]);

/** Of IPv6 only this is handed out for the Internet; the rest holds v4-compatible and other odd forms. */
const globalUnicast: Network = [ipaddr.parse('2000::'), 3];

/**
 * Ports of protocols that an HTTP request can be mistaken for: the list of the fetch standard and common databases,
 * brokers and node agents. Source: https://fetch.spec.whatwg.org/#port-blocking
 */
const blockedPorts = new Set([
  0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
  111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
  540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
  6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080, 445, 1433, 1521, 1883, 2181, 2375, 2376, 2379, 2380,
  3306, 3389, 4222, 5432, 5672, 6379, 6380, 9042, 9092, 10250, 10255, 11211, 27017,
]);

/** Says where callbacks may go. Every refusal is a MillraceError `callback.refused` that names the reason. */
export class CallbackGuard {
  readonly #hosts = new Set<string>();
  readonly #networks: Network[] = [];
  readonly #lookup: Lookup;

  /** `allow`: host names, addresses and CIDR networks that may be private or loopback. */
  constructor(allow: readonly string[], lookup: Lookup = lookupAll) {
    this.#lookup = lookup;
    for (const entry of allow) {
      if (ipaddr.isValidCIDR(entry)) this.#networks.push(ipaddr.parseCIDR(entry));
      else if (ipaddr.isValid(entry)) this.#networks.push(networkOf(entry));
      else if (/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/i.test(entry)) this.#hosts.add(entry.toLowerCase());
      else throw new MillraceError('config.invalid', `callback allow list: "${entry}" is no host, address or network`);
    }
  }

  /** Everything that can be said without a name server. */
  checkUrl(text: string): URL {
    if (text.length > maxUrlLength) throw refused(`it is longer than ${maxUrlLength} characters`);
    // The URL parser drops line breaks and turns "\" into "/": what people and other parsers see would differ.
    // oxlint-disable-next-line no-control-regex -- control characters are the point
    if (/[\u0000-\u0020\u007f\\]/.test(text)) throw refused('it holds white space, a control character or "\\"');
    if (!URL.canParse(text)) throw refused('it is not a URL');
    const url = new URL(text);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') throw refused('only http and https are allowed');
    if (url.username !== '' || url.password !== '') throw refused('it holds a user name or password');
    if (url.hostname === '') throw refused('it names no host');
    // The standard port of the scheme is left out by the parser.
    if (url.port !== '' && blockedPorts.has(Number(url.port))) throw refused(`port ${url.port} is not for HTTP`);
    const literal = literalOf(url.hostname);
    if (literal !== undefined) this.checkAddress(literal, url.hostname);
    return url;
  }

  /** Throws unless the address, which `host` resolved to, may be connected to. */
  checkAddress(text: string, host: string): void {
    const address = ipaddr.isValid(text) ? ipaddr.parse(text) : undefined;
    // Whoever gave a name is not told what it stands for in here.
    const shown = literalOf(host) === undefined ? `an address of ${JSON.stringify(host)}` : text;
    if (!address) throw refused(`${shown} is not one of a network`);
    if (metadataAddresses.has(address.toString())) throw refused(`${shown} is a metadata service`);
    const range = address.range();
    if (range === 'unicast' && (address.kind() === 'ipv4' || contains(globalUnicast, address))) return;
    if (openable.has(range) && (this.#hosts.has(plainHost(host)) || this.#allowsAddress(address))) return;
    throw refused(`${shown} is in a range that callbacks may not go to (${range})`);
  }

  /** The addresses of a host, each of them checked: one that is refused refuses all. */
  async resolve(hostname: string): Promise<readonly ResolvedAddress[]> {
    const addresses = await this.#lookup(hostname);
    for (const { address } of addresses) this.checkAddress(address, hostname);
    return addresses;
  }

  #allowsAddress(address: Address): boolean {
    return this.#networks.some((network) => contains(network, address));
  }
}

/** The address that a URL names instead of a host. */
export function literalOf(hostname: string): string | undefined {
  if (hostname.startsWith('[')) return hostname.slice(1, -1);
  return ipaddr.IPv4.isValidFourPartDecimal(hostname) ? hostname : undefined;
}

function contains(network: Network, address: Address): boolean {
  return network[0].kind() === address.kind() && address.match(network);
}

function networkOf(entry: string): Network {
  const address = ipaddr.parse(entry);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

/** `Example.com.` and `example.com` are one host. */
function plainHost(hostname: string): string {
  return hostname.toLowerCase().replace(/\.$/, '');
}

function refused(reason: string): MillraceError {
  return new MillraceError('callback.refused', `the callback URL is refused: ${reason}`);
}

function lookupAll(hostname: string): Promise<readonly ResolvedAddress[]> {
  return systemLookup(hostname, { all: true, verbatim: true });
}
