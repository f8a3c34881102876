/**
 * What OpenFaaS and Kubernetes call things, so that faas-netes and Millrace read what the other has made: docs.openfaas.com,
 * "Workloads", "Secrets", "Profiles", and what `kubectl get -o yaml` shows of functions that faas-netes deployed.
 */

/** On every object of a function, and what its Service finds its pods by. */
export const functionLabel = 'faas_function';
/** Who keeps an object as it is: `millrace` for functions of the configuration, `openfaas` for secrets of functions. */
export const managedByLabel = 'app.kubernetes.io/managed-by';
export const millrace = 'millrace';
export const openfaas = 'openfaas';
/** The label of an EndpointSlice that names its Service. */
export const serviceNameLabel = 'kubernetes.io/service-name';
/** A digest of what was asked for, of an object that is kept so: what somebody else changed can be told from news. */
export const wantedAnnotation = 'millrace.dev/wanted';
/** faas-netes tells Prometheus to leave functions alone, unless they say otherwise. */
export const scrapeAnnotation = 'prometheus.io.scrape';

export const serviceAccountAnnotation = 'com.openfaas.serviceaccount';
export const profileAnnotation = 'com.openfaas.profile';
export const leastReplicasLabel = 'com.openfaas.scale.min';

/** The port of a function's process, and of its Service. */
export const functionPort = 8080;
/** Where a function reads its secrets. */
export const secretsFolder = '/var/openfaas/secrets';
/** The command of a watchdog, in the environment. */
export const processVariable = 'fprocess';
