import { z } from 'zod';
import { bytes, secret, timeLimit } from '../../../core/config/units.ts';
import { headerName } from '../../../core/kit/headers.ts';
import { withheld } from '../../../core/kit/upstream/request.ts';

export const httpProviderConfig = z.strictObject({
  connections: z
    .int()
    .min(1)
    .max(10_000)
    .default(128)
    .describe('Connections to one upstream at most, and so the calls that it gets at once.'),
  connectTimeout: timeLimit('5s').describe('How long connecting may take, TLS included.'),
  keepAlive: timeLimit('4s').describe(
    'An idle connection is closed after so long, or 2s before its upstream does, where `Keep-Alive` tells when. Keep it ' +
      'shorter than the upstream does: a call that meets the end of its connection fails, unless it may be repeated.',
  ),
  maxHeaders: bytes('16KiB')
    .refine((size) => size >= 1024 && size <= 2 ** 20, 'expected between 1KiB and 1MiB')
    .describe('Largest head of an answer.'),
});

/** Credentials in it would be shown wherever the URL is. */
const upstreamUrl = z
  .string()
  .max(2048)
  .regex(
    /^https?:\/\/(?:[-\w.]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?(?:\/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~]*)?$/,
    'expected http://HOST:PORT/PATH or https://…, without query; credentials go into `headers`',
  )
  .refine((text) => URL.canParse(text), 'expected a URL');

const probeFields = (path: string, standard: boolean) => ({
  path: z
    .string()
    .regex(/^\/[\x21-\x22\x24-\x7e]*$/, 'expected a path such as /_/health')
    .default(path)
    .describe('Asked of the host of the URL, whatever path the URL has. 200 to 399 is a good answer.'),
  interval: timeLimit('2s').describe('From the end of one to the beginning of the next.'),
  timeout: timeLimit('1s').describe('No answer within it is a bad one.'),
  failures: z.int().min(1).max(100).default(3).describe('So many bad ones in a row take an upstream out.'),
  successes: z
    .int()
    .min(1)
    .max(100)
    .default(1)
    .describe(`So many good ones in a row take it in${standard ? ' again' : ''}.`),
});

const file = (what: string) =>
  z.string().min(1).optional().describe(`${what}; a relative path is meant from the folder of the configuration.`);

const secure = z
  .strictObject({
    ca: file('PEM file of the authorities to trust instead of the public ones'),
    cert: file('PEM file of the gateway’s certificate; needs `key`'),
    key: file('PEM file of its key'),
    serverName: z.string().min(1).optional().describe('The name in the certificate, if it is not the host.'),
  })
  .refine(({ cert, key }) => (cert === undefined) === (key === undefined), 'cert and key go together');

export const httpFunction = z
  .strictObject({
    url: upstreamUrl
      .optional()
      .describe('Where it runs. The path of a call behind the name is added to that of the URL.'),
    urls: z
      .array(upstreamUrl)
      .min(1)
      .max(256)
      .refine((urls) => new Set(urls).size === urls.length, 'names the same URL twice')
      .optional()
      .describe('Instead of `url`: several, of which each call goes to the one with the fewest calls.'),
    headers: z
      .record(z.string().regex(headerName, 'expected the name of a header'), secret())
      .default({})
      .describe(
        'Headers of each request, in place of those that the caller sent: what the upstream knows the gateway by.',
      ),
    tls: secure.optional().describe('For `https:`; not needed for a certificate of a public authority.'),
    health: z
      .strictObject(probeFields('/_/health', true))
      .optional()
      .describe('Asks each upstream whether it is well; one that is not gets no calls. `{}` asks as OpenFaaS does.'),
    ready: z
      .strictObject(probeFields('/_/ready', false))
      .optional()
      .describe(
        'Asks each upstream whether it takes calls; it gets none before it has said so. `{}` as OpenFaaS does.',
      ),
  })
  .superRefine(({ url, urls = [], headers, tls }, context) => {
    const problem = (path: string[], message: string): void => context.addIssue({ code: 'custom', path, message });
    if ((url === undefined) === (urls.length === 0)) problem(['url'], 'expected either url or urls');
    const all = url === undefined ? urls : [url];
    if (tls && !all.every((each) => each.startsWith('https:')))
      problem(['tls'], 'tls needs URLs that begin with https:');
    for (const [name, value] of Object.entries(headers)) {
      if (withheld.has(name.toLowerCase())) problem(['headers', name], 'is for the gateway to set');
      if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value))
        problem(['headers', name], 'has characters that headers may not have');
    }
  });

export type HttpProviderConfig = z.output<typeof httpProviderConfig>;
export type HttpFunction = z.output<typeof httpFunction>;
export type ProbeConfig = NonNullable<HttpFunction['health']>;
