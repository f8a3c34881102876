import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { createServer } from 'node:http';
import { once } from 'node:events';

/** An issuer of OpenID Connect on this machine, with real keys. */
export interface IssuerServer extends AsyncDisposable {
  readonly url: string;
  /** How often its keys were asked for. */
  readonly asked: () => number;
  /** Signs with another key from now on; the old one is not told any more. */
  rotate(kid: string): Promise<void>;
  /** A token as an honest issuer makes it, but for what is given. */
  token(claims?: Readonly<Record<string, unknown>>, header?: { alg?: string; kid?: string }): Promise<string>;
  /** The public key, as its PEM would be used by who takes it for a secret. */
  readonly publicKey: () => Promise<CryptoKey>;
  /** Answers so from now on, in place of its documents; undefined ends that. */
  answerWith(answer: { status: number; body: string } | 'nothing' | undefined): void;
}

/** `nowMs`: the clock of both sides. */
export async function startIssuer(nowMs: () => number, alg = 'ES256'): Promise<IssuerServer> {
  let asked = 0;
  let answer: { status: number; body: string } | 'nothing' | undefined;
  let key = await keyOf('first');
  const server = createServer((request, response) => {
    if (request.url === '/keys') asked++;
    if (answer === 'nothing') {
      request.socket.destroy();
      return;
    }
    const documents: Readonly<Record<string, unknown>> = {
      '/keys': { keys: [key.jwk] },
      '/.well-known/openid-configuration': { issuer: url, jwks_uri: `${url}/keys` },
    };
    const document = documents[request.url ?? ''];
    response.writeHead(answer?.status ?? (document ? 200 : 404), { 'content-type': 'application/json' });
    response.end(answer?.body ?? JSON.stringify(document ?? {}));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  return {
    url,
    asked: () => asked,
    rotate: async (kid) => {
      key = await keyOf(kid);
    },
    token: (claims = {}, header = {}) => {
      const now = Math.floor(nowMs() / 1000);
      const payload = { iss: url, aud: 'millrace', sub: 'ada', iat: now, exp: now + 60, ...claims };
      // What is undefined is left out.
      const given = Object.fromEntries(Object.entries(payload).filter(([, value]) => value !== undefined));
      return new SignJWT(given).setProtectedHeader({ alg, kid: key.jwk.kid ?? '', ...header }).sign(key.privateKey);
    },
    publicKey: async () => key.publicKey,
    answerWith: (given) => {
      answer = given;
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };

  async function keyOf(kid: string) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    return { publicKey, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
  }
}
