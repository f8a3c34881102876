import { z } from 'zod';
import { bytes, dnsLabel, quantity, timeLimit } from '../../../core/config/units.ts';

export const kubernetesConfig = z
  .strictObject({
    kubeconfig: z
      .string()
      .min(1)
      .optional()
      .describe(
        'A kubeconfig file; a relative path is meant from the folder of the configuration. Left out: the gateway is a ' +
          'pod of the cluster, and is its service account there.',
      ),
    context: z.string().min(1).optional().describe('A context of `kubeconfig` other than its current one.'),
    namespaces: z
      .array(dnsLabel)
      .min(1)
      .max(1000)
      .refine((names) => new Set(names).size === names.length, 'names the same namespace twice')
      .optional()
      .describe('Where functions are. Needs a Role in each. Standard: `[openfaas-fn]`.'),
    namespaceSelector: z
      .string()
      .min(1)
      .optional()
      .describe(
        'Instead of `namespaces`: each namespace of the cluster whose labels it selects, as they come and go. OpenFaaS ' +
          'marks its own with `openfaas=1`. Needs leave to watch namespaces, and a Role in each.',
      ),
    profilesNamespace: dnsLabel
      .default('openfaas')
      .describe('Where the profiles (`profiles.openfaas.com`) are that functions name by `com.openfaas.profile`.'),
    imagePullPolicy: z
      .enum(['Always', 'IfNotPresent', 'Never'])
      .default('Always')
      .describe('Of the functions that are deployed from here.'),
    nonRoot: z
      .boolean()
      .default(false)
      .describe(
        'Functions that are deployed from here run as user and group 12000, as with OpenFaaS, and never as root, whatever ' +
          'their images say.',
      ),
    requestTimeout: timeLimit('10s').describe('How long the API server may take to answer.'),
    watchTimeout: timeLimit('1m').describe(
      'After so long a watch is begun anew from where it was. A connection that broke without a word is noticed 10s later.',
    ),
    startTimeout: timeLimit('10s').describe(
      'How long the start waits for what the cluster has. A gateway that does not get it runs all the same, and finds ' +
        'its functions later.',
    ),
    functionResources: z
      .boolean()
      .default(false)
      .describe(
        'Has the cluster run what resources of the kind `Function` (openfaas.com/v1) say, and tells them how they are. ' +
          'Not beside the operator of OpenFaaS, which does the same.',
      ),
    via: z
      .enum(['pods', 'service'])
      .default('pods')
      .describe(
        'Where calls go: straight to the pod with the fewest of them, or to the Service of the function (a mesh wants that).',
      ),
    serviceUrl: z
      .string()
      .regex(/^http:\/\/[^\s?#@]+$/, 'expected http://HOST:PORT, with {name} and {namespace} in their places')
      .default('http://{name}.{namespace}.svc:8080')
      .describe('Where the Service of a function is, for `via: service`.'),
    connections: z
      .int()
      .min(1)
      .max(10_000)
      .default(128)
      .describe('Calls that one pod gets at once at most; less where its function says `max_inflight`.'),
    connectTimeout: timeLimit('500ms').describe(
      'A pod that cannot be connected to within it gets no calls until it can, and the call goes to another one.',
    ),
    keepAlive: timeLimit('4s').describe(
      'An idle connection to a pod is closed after so long, or 2s before the pod does, where `Keep-Alive` tells when. ' +
        'Keep it shorter than functions do.',
    ),
    maxHeaders: bytes('16KiB')
      .refine((size) => size >= 1024 && size <= 2 ** 20, 'expected between 1KiB and 1MiB')
      .describe('Largest head of an answer.'),
  })
  .refine(
    ({ namespaces, namespaceSelector }) => namespaces === undefined || namespaceSelector === undefined,
    'expected either namespaces or namespaceSelector',
  )
  .refine(({ kubeconfig, context }) => kubeconfig !== undefined || context === undefined, {
    path: ['context'],
    message: 'is of a kubeconfig file: name that too',
  });

const resources = (what: string) => z.record(z.string().min(1).max(317), quantity).optional().describe(what);

export const kubernetesFunction = z.strictObject({
  image: z.string().min(1).max(2048).describe('The image of its container, which listens on port 8080.'),
  envProcess: z.string().min(1).optional().describe('What a watchdog runs: `fprocess` in the environment.'),
  secrets: z
    .array(z.string().min(1).max(253))
    .default([])
    .describe('Secrets of its namespace: files under /var/openfaas/secrets, or what its image is pulled with.'),
  constraints: z.array(z.string()).default([]).describe('Labels of the nodes that it may run on: `zone=west`.'),
  limits: resources('What a replica may use at most: `{memory: 128Mi, cpu: 100m}`.'),
  requests: resources('What a node must have left for a replica.'),
  readOnlyRootFilesystem: z.boolean().optional().describe('Nothing but /tmp can be written to.'),
});

export type KubernetesFunction = z.output<typeof kubernetesFunction>;
export type KubernetesConfig = z.output<typeof kubernetesConfig>;
