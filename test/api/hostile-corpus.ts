/**
 * Requests that a gateway and a server behind it may read in two ways. What is judged is not the status but what comes
 * out behind: see `judged`. The rows of reliability.md §2 that they stand for are named in their groups.
 */
export interface HostileCase {
  readonly name: string;
  /** As they go out, one character a byte. `target` is the path that the requests ask for; nobody asks for another. */
  bytes(target: string): string;
  /** Bodies of the requests that the letter of HTTP/1.1 finds in them. */
  readonly means: readonly string[];
  /** Nothing is wrong with it, so it has to come through; anything else may be refused as well. */
  readonly isPlain?: boolean;
}

/** What became of a case. */
export interface Observed {
  /** Bodies of the whole requests that came out at the case's target. */
  readonly behind: readonly string[];
  /** Statuses that the client got, without those below 200. */
  readonly statuses: readonly number[];
  readonly closed: boolean;
}

/** What is wrong with it, in words; empty when one in was one out with the same body, or it was refused. */
export function judged({ means, isPlain = false }: HostileCase, { behind, statuses, closed }: Observed): string[] {
  const wrong: string[] = [];
  const left = [...means];
  for (const body of behind) {
    const at = left.indexOf(body);
    if (at === -1) wrong.push(`a request came out that is none of these: ${JSON.stringify(body)}`);
    else left.splice(at, 1);
  }
  if (statuses.filter((status) => status < 400).length > behind.length) wrong.push('an answer without a request');
  if (statuses.length > means.length + 1) wrong.push(`${statuses.length} answers`);
  if (isPlain && (left.length > 0 || statuses.length !== means.length)) {
    wrong.push(`${left.length} of ${means.length} requests did not come out; answered ${statuses.join()}`);
  }
  if (left.length === 0 && means.length > 0 && (statuses[0] ?? 0) >= 400) wrong.push('it ran, and was refused');
  if (left.length > 0 && !closed && !statuses.some((status) => status >= 400)) wrong.push('neither refused nor closed');
  return wrong;
}

const host = 'Host: h\r\n';
const request =
  (line: string, headers: readonly string[], body = '') =>
  (target: string): string =>
    `${line.replace('TARGET', target)}\r\n${host}${headers.map((header) => `${header}\r\n`).join('')}\r\n${body}`;
const post = (headers: readonly string[], body = ''): HostileCase['bytes'] =>
  request('POST TARGET HTTP/1.1', headers, body);
/** What somebody would have run who finds another end of the request before it. */
const smuggled = (target: string): string => `GET ${target}/smuggled HTTP/1.1\r\n${host}\r\n`;
const then =
  (first: HostileCase['bytes'], next: HostileCase['bytes']): HostileCase['bytes'] =>
  (target) =>
    first(target) + next(target);
const aRequest = smuggled('/function/behind');
const chunks = '3\r\nabc\r\n0\r\n\r\n';

const refused = (name: string, bytes: HostileCase['bytes']): HostileCase => ({ name, bytes, means: [] });
const either = (name: string, bytes: HostileCase['bytes'], ...means: string[]): HostileCase => ({ name, bytes, means });
const plain = (name: string, bytes: HostileCase['bytes'], ...means: string[]): HostileCase => ({
  name,
  bytes,
  means,
  isPlain: true,
});

/** CVE-2024-27982, CVE-2025-22871: a length that one side reads and the other does not. */
const lengths: readonly HostileCase[] = [
  refused('two lengths that differ', post(['Content-Length: 3', 'Content-Length: 4'], 'abcd')),
  either('two lengths that agree', post(['Content-Length: 3', 'Content-Length: 3'], 'abc'), 'abc'),
  either('two lengths in two cases (CVE-2026-1525)', post(['Content-Length: 3', 'content-length: 3'], 'abc'), 'abc'),
  either('a list of one length', post(['Content-Length: 3, 3'], 'abc'), 'abc'),
  refused('a list of two lengths', post(['Content-Length: 3, 4'], 'abcd')),
  ...['+3', '-1', '0x3', '3.0', '3e0', '3 3', '', '3;', '3,', '"3"', '\v3', '3\x00', '\xb3', 'three', '1_0'].map(
    (value) => refused(`the length ${JSON.stringify(value)}`, post([`Content-Length: ${value}`], 'abc')),
  ),
  refused('a length of 20 digits', post([`Content-Length: ${'9'.repeat(20)}`], 'abc')),
  refused('a length of 2 to the 64th and 3', post(['Content-Length: 18446744073709551619'], 'abc')),
  plain('spaces around the length', post(['Content-Length:   3  '], 'abc'), 'abc'),
  plain('a tab before the length', post(['Content-Length:\t3'], 'abc'), 'abc'),
  either('a length with a zero in front', post(['Content-Length: 03'], 'abc'), 'abc'),
  ...['Content-Length ', 'Content-Length\t', 'Content-Length\v', 'Content-Length\x00', '\xa0Content-Length'].map(
    (name) => refused(`the name ${JSON.stringify(name)}`, post([`${name}: 3`], 'abc')),
  ),
  refused('a length after a line feed', post(['X: y\nContent-Length: 3'], 'abc')),
  refused('a length after a carriage return', post(['X: y\rContent-Length: 3'], 'abc')),
  refused('a length in a folded line', post(['X: y\r\n Content-Length: 3'], 'abc')),
  refused('a folded length', post(['Content-Length:\r\n 3'], 'abc')),
  either('a name that only looks like it', post(['Content_Length: 40'], '\x01 what follows'), ''),
];

const codings: readonly HostileCase[] = [
  refused('CL.TE', (target) =>
    post(['Content-Length: 6', 'Transfer-Encoding: chunked'], `0\r\n\r\n${smuggled(target)}`)(target),
  ),
  refused('TE.CL', (target) =>
    post(
      ['Transfer-Encoding: chunked', 'Content-Length: 4'],
      `${smuggled(target).length.toString(16)}\r\n${smuggled(target)}\r\n0\r\n\r\n`,
    )(target),
  ),
  ...[
    'xchunked',
    'chunked, identity',
    'identity',
    'identity, chunked',
    'chunked, chunked',
    'chunked;q=1',
    '"chunked"',
    'chu nked',
    '\vchunked',
    'chunked\x00',
    'gzip',
    'cow',
    '',
    ',chunked',
    'chunked,',
    'chunked\xa0',
  ].map((value) =>
    either(`the coding ${JSON.stringify(value)}`, (target) =>
      post([`Transfer-Encoding: ${value}`], `0\r\n\r\n${smuggled(target)}`)(target),
    ),
  ),
  either('gzip, then chunks', post(['Transfer-Encoding: gzip, chunked'], chunks), 'abc'),
  plain('chunks', post(['Transfer-Encoding: chunked'], chunks), 'abc'),
  plain('chunks, in capitals', post(['Transfer-Encoding: CHUNKED'], chunks), 'abc'),
  plain('chunks, behind a tab', post(['Transfer-Encoding:\tchunked'], chunks), 'abc'),
  ...['Transfer-Encoding ', 'Transfer-Encoding\t', 'Transfer-Encoding\n', '\x00Transfer-Encoding'].map((name) =>
    refused(`the name ${JSON.stringify(name)}`, post([`${name}: chunked`], chunks)),
  ),
  refused('a folded coding', post(['Transfer-Encoding:\r\n chunked'], chunks)),
  refused('a coding after a line feed', post(['X: y\nTransfer-Encoding: chunked'], chunks)),
  refused('a coding after a carriage return', post(['X: y\rTransfer-Encoding: chunked'], chunks)),
  refused('two codings', post(['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], chunks)),
  refused(
    'two codings, the other way round',
    post(['Transfer-Encoding: identity', 'Transfer-Encoding: chunked'], chunks),
  ),
  either('chunks in HTTP/1.0', request('POST TARGET HTTP/1.0', ['Transfer-Encoding: chunked'], chunks), 'abc'),
  refused('a length and chunks that agree', post(['Content-Length: 13', 'Transfer-Encoding: chunked'], chunks)),
];

/** CVE-2024-22019 (extensions), CVE-2025-22871 (a bare line feed behind a size). */
const chunked = (body: string): HostileCase['bytes'] => post(['Transfer-Encoding: chunked'], body);
const chunkings: readonly HostileCase[] = [
  ...['0x3', '+3', '-3', ' 3', '\t3', 'zz', '', ';x', '3_', '3,3', 'FFFFFFFFFFFFFFFFF', '10000000000000003'].map(
    (size) => refused(`the chunk size ${JSON.stringify(size)}`, chunked(`${size}\r\nabc\r\n0\r\n\r\n`)),
  ),
  either('a chunk size with a space behind', chunked('3 \r\nabc\r\n0\r\n\r\n'), 'abc'),
  either('a chunk size with zeros in front', chunked('0000000000000003\r\nabc\r\n0\r\n\r\n'), 'abc'),
  plain('a chunk size in capitals', chunked('A\r\nabcdefghij\r\n0\r\n\r\n'), 'abcdefghij'),
  plain('a chunk extension', chunked('3;a=b\r\nabc\r\n0\r\n\r\n'), 'abc'),
  either('a quoted chunk extension', chunked('3;a="b;c"\r\nabc\r\n0\r\n\r\n'), 'abc'),
  either('a chunk extension of 12,000 bytes', chunked(`3;${'a'.repeat(12_000)}\r\nabc\r\n0\r\n\r\n`), 'abc'),
  either('a chunk extension of 200,000 bytes', chunked(`3;${'a'.repeat(200_000)}\r\nabc\r\n0\r\n\r\n`), 'abc'),
  refused('a line feed in a chunk extension', chunked('3;a\nb\r\nabc\r\n0\r\n\r\n')),
  refused('a carriage return in a chunk extension', chunked('3;a\rb\r\nabc\r\n0\r\n\r\n')),
  refused('a line feed behind a chunk size', chunked('3\nabc\r\n0\r\n\r\n')),
  refused('a carriage return behind a chunk size', chunked('3\rabc\r\n0\r\n\r\n')),
  refused('a line feed behind a chunk', chunked('3\r\nabc\n0\r\n\r\n')),
  refused('nothing behind a chunk', chunked('3\r\nabc0\r\n\r\n')),
  refused('a chunk that is longer than it says', chunked('1\r\nabc\r\n0\r\n\r\n')),
  refused('a chunk that is shorter than it says', chunked('5\r\nabc\r\n0\r\n\r\nxx')),
  refused('a line feed as the end of all chunks', chunked('3\r\nabc\r\n0\n\n')),
  refused('no last chunk', chunked('3\r\nabc\r\n')),
  refused('no line break at the end', chunked('3\r\nabc\r\n0\r\n')),
  plain('a trailer', chunked('3\r\nabc\r\n0\r\nX-Trailer: y\r\n\r\n'), 'abc'),
  either('a length as a trailer', chunked('3\r\nabc\r\n0\r\nContent-Length: 40\r\n\r\n'), 'abc'),
  either('a coding as a trailer', chunked('3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n'), 'abc'),
  refused('a trailer that is no header', chunked('3\r\nabc\r\n0\r\nno header\r\n\r\n')),
  refused('a null in a trailer', chunked('3\r\nabc\r\n0\r\nX: \x00\r\n\r\n')),
];

const heads: readonly HostileCase[] = [
  ...['X(Y', 'X[Y', 'X Y', 'X/Y', 'X\x7f', 'X\xe4', '"X"', 'X\x00Y', '', 'X=Y', 'X@Y', 'X,Y', 'X\u0080'].map((name) =>
    refused(`a header named ${JSON.stringify(name)}`, post([`${name}: y`, 'Content-Length: 3'], 'abc')),
  ),
  ...['a\x00b', 'a\x01b', 'a\x7fb', 'a\nb', 'a\rb', 'a\x0bb'].map((value) =>
    refused(`a header of ${JSON.stringify(value)}`, post([`X: ${value}`, 'Content-Length: 3'], 'abc')),
  ),
  refused('a header without a colon', post(['XY', 'Content-Length: 3'], 'abc')),
  refused('a folded header', post(['X: a\r\n b', 'Content-Length: 3'], 'abc')),
  refused('a header before the first one', (target) => `POST ${target} HTTP/1.1\r\n X: y\r\n${host}\r\n`),
  refused('line feeds only', (target) => `POST ${target} HTTP/1.1\nHost: h\n\n${smuggled(target)}`),
  refused('carriage returns only', (target) => `POST ${target} HTTP/1.1\rHost: h\r\r${smuggled(target)}`),
  refused('no host', (target) => `POST ${target} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc`),
  refused('two hosts', post(['Host: other', 'Content-Length: 3'], 'abc')),
  either('two spaces in the first line', request('POST  TARGET HTTP/1.1', ['Content-Length: 3'], 'abc'), 'abc'),
  refused('a tab in the first line', request('POST\tTARGET HTTP/1.1', ['Content-Length: 3'], 'abc')),
  refused('a space in the target', request('POST TARGET x HTTP/1.1', ['Content-Length: 3'], 'abc')),
  refused('a null in the target', request('POST TARGET\x00 HTTP/1.1', ['Content-Length: 3'], 'abc')),
  refused('a method in small letters', request('post TARGET HTTP/1.1', ['Content-Length: 3'], 'abc')),
  refused('a method of nobody', request('HELLO TARGET HTTP/1.1', ['Content-Length: 3'], 'abc')),
  ...['HTTP/1.2', 'HTTP/2.0', 'HTTP/11', 'HTTP/1.', 'http/1.1', 'HTTP/9.9', 'ICE/1.0', ''].map((version) =>
    refused(`the version ${JSON.stringify(version)}`, request(`POST TARGET ${version}`, ['Content-Length: 3'], 'abc')),
  ),
  plain('an empty line before it', (target) => `\r\n${post(['Content-Length: 3'], 'abc')(target)}`, 'abc'),
  plain('the whole URL', request('POST http://hTARGET HTTP/1.1', ['Content-Length: 3'], 'abc'), 'abc'),
  refused('CONNECT with a path', request('CONNECT TARGET HTTP/1.1', [])),
  refused(
    'CONNECT with a host (CVE-2026-71324)',
    (target) => `CONNECT h:80 HTTP/1.1\r\n${host}\r\n${smuggled(target)}`,
  ),
  refused('OPTIONS of everything', request('OPTIONS * HTTP/1.1', [])),
  refused('GET of everything', request('GET * HTTP/1.1', [])),
  refused('a host and a port as the target', request('GET h:80 HTTP/1.1', [])),
  either(
    '2,000 headers, the length last (CVE-2026-58044)',
    post([...Array.from({ length: 2000 }, () => 'a:'), 'Content-Length: 3'], 'abc'),
    'abc',
  ),
  either(
    '2,000 headers, the coding last (CVE-2026-58044)',
    post([...Array.from({ length: 2000 }, () => 'a:'), 'Transfer-Encoding: chunked'], chunks),
    'abc',
  ),
  refused('a head of 20 KiB', post([`X: ${'a'.repeat(20_000)}`, 'Content-Length: 3'], 'abc')),
];

const whole: readonly HostileCase[] = [
  ...['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'PUT'].map((method) =>
    plain(`${method} with a body`, request(`${method} TARGET HTTP/1.1`, ['Content-Length: 3'], 'abc'), 'abc'),
  ),
  plain('GET with chunks', request('GET TARGET HTTP/1.1', ['Transfer-Encoding: chunked'], chunks), 'abc'),
  plain(
    'GET whose body is a request',
    request('GET TARGET HTTP/1.1', [`Content-Length: ${aRequest.length}`], aRequest),
    aRequest,
  ),
  plain('two in one piece', then(post(['Content-Length: 3'], 'abc'), post(['Content-Length: 3'], 'def')), 'abc', 'def'),
  plain(
    'chunks and one without a body in one piece',
    then(post(['Transfer-Encoding: chunked'], chunks), request('GET TARGET HTTP/1.1', [])),
    'abc',
    '',
  ),
  either(
    'a good one and a bad one in one piece',
    then(post(['Content-Length: 3'], 'abc'), post(['Content-Length: 3x'], 'def')),
    'abc',
  ),
  either(
    'a bad one and a good one in one piece',
    then(post(['Content-Length: 3x'], 'def'), post(['Content-Length: 3'], 'abc')),
  ),
  either('more bytes than its length', (target) => `${post(['Content-Length: 3'], 'abc')(target)}\x01\x02`, 'abc'),
  refused('fewer bytes than its length', post(['Content-Length: 9'], 'abc')),
  refused('a length over the limit, and what could be the next request', (target) =>
    post(['Content-Length: 999999999'], smuggled(target))(target),
  ),
  plain('Expect: 100-continue', post(['Expect: 100-continue', 'Content-Length: 3'], 'abc'), 'abc'),
  either('another expectation', post(['Expect: 200-maybe', 'Content-Length: 3'], 'abc'), 'abc'),
  either('Expect: 100-continue over the limit, and what could be the next request', (target) =>
    post(['Expect: 100-continue', 'Content-Length: 999999999'], smuggled(target))(target),
  ),
  plain('HTTP/1.0', request('POST TARGET HTTP/1.0', ['Content-Length: 3'], 'abc'), 'abc'),
  either(
    'HTTP/1.0 without an end of its life',
    (target) => then(request('POST TARGET HTTP/1.0', ['Content-Length: 3'], 'abc'), smuggled)(target),
    'abc',
  ),
  plain(
    'HTTP/1.0 that keeps its connection',
    then(
      request('POST TARGET HTTP/1.0', ['Connection: keep-alive', 'Content-Length: 3'], 'abc'),
      request('POST TARGET HTTP/1.0', ['Content-Length: 3'], 'def'),
    ),
    'abc',
    'def',
  ),
  either(
    'one that closes, and another',
    (target) => then(post(['Connection: close', 'Content-Length: 3'], 'abc'), smuggled)(target),
    'abc',
  ),
  plain(
    'an upgrade to HTTP/2',
    post(
      ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk', 'Content-Length: 3'],
      'abc',
    ),
    'abc',
  ),
  plain(
    'an upgrade to a web socket',
    post(['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Content-Length: 3'], 'abc'),
    'abc',
  ),
  ...[
    'content-length',
    'Content-Length',
    'transfer-encoding',
    'host',
    'x-call-id',
    'close, content-length',
    'content-length, host, x-forwarded-for, user-agent, x-invocation-id',
    'connection',
    ',,;',
  ].map((value) => plain(`Connection: ${value}`, post([`Connection: ${value}`, 'Content-Length: 3'], 'abc'), 'abc')),
  plain(
    'Connection: transfer-encoding, of chunks',
    post(['Connection: transfer-encoding', 'Transfer-Encoding: chunked'], chunks),
    'abc',
  ),
  plain(
    'what a hop says of its own',
    post(['TE: trailers, chunked', 'Trailer: content-length', 'Keep-Alive: timeout=1', 'Content-Length: 3'], 'abc'),
    'abc',
  ),
];

export const hostileCases: readonly HostileCase[] = [...lengths, ...codings, ...chunkings, ...heads, ...whole];
