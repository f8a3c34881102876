import type { z } from 'zod';
import { defineProvider } from '../../../core/contracts/definition.ts';
import type { Deployment } from '../../../core/contracts/deployment.ts';
import { kubernetesConfig, kubernetesFunction } from './config.ts';
import { KubernetesProvider } from './provider.ts';

function deployment(asked: Deployment): z.input<typeof kubernetesFunction> {
  const { image, envProcess, secrets, constraints, limits, requests, readOnlyRootFilesystem } = asked;
  return {
    image,
    envProcess,
    secrets: [...secrets],
    constraints: [...constraints],
    limits: limits && { ...limits },
    requests: requests && { ...requests },
    readOnlyRootFilesystem,
  };
}

export default defineProvider({
  kind: 'kubernetes',
  summary: 'Functions that are Deployments of a Kubernetes cluster, as OpenFaaS has them, whoever deployed them there.',
  config: kubernetesConfig,
  functionConfig: kubernetesFunction,
  examples: [
    {},
    { kubeconfig: './kubeconfig', context: 'staging', namespaces: ['openfaas-fn', 'openfaas-dev'] },
    { namespaceSelector: 'openfaas=1', via: 'service' },
  ],
  packages: ['@kubernetes/client-node'],
  scaling: { cpu: false },
  deployment,
  create: (config, host) => new KubernetesProvider(config, host),
});
