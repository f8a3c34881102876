import { BlockList, isIP } from 'node:net';
import { z } from 'zod';
import { duration, secret } from '../../core/config/units.ts';
import { headerName } from '../../core/kit/headers.ts';

const routeMethods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const;

export const verifySchema = z
  .strictObject({
    scheme: z
      .enum(['github', 'standard-webhooks', 'stripe', 'hmac'])
      .describe(
        'Who signs: `github` (X-Hub-Signature-256), `standard-webhooks` (webhook-id, -timestamp, -signature), `stripe` ' +
          '(Stripe-Signature), or `hmac`: the HMAC of the body in `header`.',
      ),
    secret: secret().describe('What both sides know; that of `standard-webhooks` in base64, with or without `whsec_`.'),
    previousSecret: secret().optional().describe('Accepted as well, while the sender changes to a new one.'),
    tolerance: duration('5m').describe(
      'How far the signed time may be from ours, where one is signed (`standard-webhooks`, `stripe`).',
    ),
    replayWindow: duration()
      .optional()
      .describe(
        'Through the queue, the same event is taken once within it, and a repetition is answered as the first one was. ' +
          'The same event: the same signed id, else the same body. By default 24h; for `hmac` 0s, because what a sender ' +
          'unknown to us repeats may well be meant.',
      ),
    header: z
      .string()
      .regex(headerName, 'expected the name of a header')
      .optional()
      .describe('`hmac`: where the signature is.'),
    prefix: z.string().default('').describe('`hmac`: what stands before the signature, such as `sha256=`.'),
    algorithm: z.enum(['sha256', 'sha384', 'sha512']).default('sha256').describe('`hmac`: the hash.'),
    encoding: z.enum(['hex', 'base64']).default('hex').describe('`hmac`: how the signature is written.'),
  })
  .superRefine(({ scheme, header, secret: key, previousSecret }, context) => {
    if (scheme === 'hmac' && header === undefined) {
      context.addIssue({ code: 'custom', path: ['header'], message: 'required: where `hmac` finds the signature' });
    }
    if (scheme !== 'standard-webhooks') return;
    for (const [name, value] of Object.entries({ secret: key, previousSecret })) {
      if (value === undefined || standardKey(value).byteLength >= 16) continue;
      const message = 'expected at least 16 bytes in base64, with or without `whsec_` in front';
      context.addIssue({ code: 'custom', path: [name], message });
    }
  });

const routeSchema = z.strictObject({
  path: z
    .string()
    .max(500)
    .regex(
      /^\/(?:(?:[-\w.~]+|:[a-zA-Z][a-zA-Z0-9]*)(?:\/(?:[-\w.~]+|:[a-zA-Z][a-zA-Z0-9]*))*\/?)?$/,
      'expected a path such as /orders/:id',
    )
    .refine((path) => !reserved.test(path), 'is a path of the gateway itself: /function, /system, /invocations, …')
    .refine((path) => new Set(parametersOf(path)).size === parametersOf(path).length, 'names the same parameter twice')
    .describe('The path; `:id` is one segment, which the function gets as header `X-Param-Id`.'),
  methods: z.array(z.enum(routeMethods)).min(1).default(['POST']).describe('The methods that are answered.'),
  function: z.string().min(1).describe('The function that is run.'),
  mode: z
    .enum(['sync', 'async'])
    .optional()
    .describe(
      '`async`: through the queue, answered 202. By default `async` where a signature is verified, else `sync`.',
    ),
  verify: verifySchema.optional().describe('Only what is signed is run; all else is answered 401.'),
});

export const httpConfig = z
  .strictObject({
    maxBody: z
      .number()
      .int()
      .positive()
      .optional()
      .describe('Bytes of a request body; gateway.limits.body by default.'),
    functions: z
      .boolean()
      .default(true)
      .describe('Answer /function/NAME and /async-function/NAME, too. Only one connector can.'),
    trustedProxies: z
      .array(
        z
          .string()
          .refine((text) => networkOf(text) !== undefined, 'expected an address or a network such as 10.0.0.0/8'),
      )
      .default([])
      .describe(
        'Addresses and networks whose `Forwarded`, `X-Forwarded-*` and `X-Real-Ip` are passed on; those of others are replaced.',
      ),
    routes: z.array(routeSchema).default([]).describe('Paths of their own for functions: APIs and webhooks.'),
  })
  .superRefine(({ routes }, context) => {
    const seen = new Set<string>();
    for (const [index, { path, methods }] of routes.entries()) {
      for (const method of methods) {
        // Whatever its parameters are called, it is the same path.
        const one = `${method} ${path.replaceAll(/:[^/]+/g, ':').replace(/(.)\/$/, '$1')}`;
        if (seen.has(one)) {
          const message = `another route answers ${method} ${path} already`;
          context.addIssue({ code: 'custom', path: ['routes', index, 'path'], message });
        }
        seen.add(one);
      }
    }
  });

export type HttpConfig = z.output<typeof httpConfig>;
export type RouteConfig = z.output<typeof routeSchema>;
export type VerifyConfig = z.output<typeof verifySchema>;

interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Of `10.0.0.0/8` or `10.0.0.1`; undefined for anything else. */
function networkOf(text: string): Network | undefined {
  const [address = '', prefix, ...more] = text.split('/');
  const version = isIP(address);
  const longest = version === 4 ? 32 : 128;
  if (version === 0 || more.length > 0 || (prefix !== undefined && !/^\d{1,3}$/.test(prefix))) return undefined;
  if (prefix !== undefined && Number(prefix) > longest) return undefined;
  return { address, prefix: Number(prefix ?? longest), family: version === 4 ? 'ipv4' : 'ipv6' };
}

/** Looks up addresses in those of `trustedProxies`. */
export function trustedOf({ trustedProxies }: Pick<HttpConfig, 'trustedProxies'>): BlockList {
  const list = new BlockList();
  for (const text of trustedProxies) {
    const network = networkOf(text);
    if (network) list.addSubnet(network.address, network.prefix, network.family);
  }
  return list;
}

const reserved = /^\/(?:function|async-function|system|invocations|healthz|readyz|ui|openapi\.json)(?:\/|$)/;

function parametersOf(path: string): string[] {
  return [...path.matchAll(/:([a-zA-Z0-9]+)/g)].map(([, name = '']) => name.toLowerCase());
}

/** The key of a Standard Webhooks secret. */
export function standardKey(text: string): Buffer {
  return Buffer.from(text.replace(/^whsec_/, ''), 'base64');
}
