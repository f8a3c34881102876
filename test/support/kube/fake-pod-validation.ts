import { listOf } from './fake-defaults.ts';
import type { Json, JsonObject } from './fake-objects.ts';
import { dnsLabel, dnsSubdomain, invalidValue, labelCauses, nameCauses, required, unsupported } from './fake-names.ts';
import { compareQuantities } from './fake-quantity.ts';
import type { Cause } from './fake-status.ts';

const standardResources = new Set(['cpu', 'memory', 'ephemeral-storage']);
const handlers = ['exec', 'httpGet', 'tcpSocket', 'grpc'];

/** What is wrong with a pod's spec. Checked is what functions of OpenFaaS have, and what a plugin may get wrong in it. */
export function podSpecCauses(at: string, spec: JsonObject): Cause[] {
  const containers = listOf(spec['containers']);
  const volumes = listOf(spec['volumes']);
  const causes: Cause[] = volumes.flatMap((volume, index) => volumeCauses(`${at}.volumes[${index}]`, volume));
  causes.push(...duplicates(`${at}.volumes`, volumes));
  if (containers.length === 0) causes.push(required(`${at}.containers`));
  const volumeNames = new Set(volumes.map(({ name }) => name));
  containers.forEach((container, index) => {
    causes.push(...containerCauses(`${at}.containers[${index}]`, container, volumeNames));
  });
  causes.push(...duplicates(`${at}.containers`, containers));
  causes.push(...labelCauses(`${at}.nodeSelector`, (spec['nodeSelector'] ?? {}) as Record<string, string>));
  const account = spec['serviceAccountName'];
  if (typeof account === 'string' && account !== '') {
    causes.push(...nameCauses(`${at}.serviceAccountName`, account, dnsSubdomain));
  }
  return causes;
}

function duplicates(at: string, items: readonly JsonObject[]): Cause[] {
  return items.flatMap(({ name }, index) => {
    if (items.findIndex((other) => other['name'] === name) === index) return [];
    const message = `Duplicate value: ${JSON.stringify(name)}`;
    return [{ reason: 'FieldValueDuplicate' as const, message, field: `${at}[${index}].name` }];
  });
}

function volumeCauses(at: string, volume: JsonObject): Cause[] {
  const causes = namedBy(`${at}.name`, volume['name']);
  const { secret, configMap } = volume as { secret?: JsonObject; configMap?: JsonObject };
  if (secret && !secret['secretName']) causes.push(required(`${at}.secret.secretName`));
  if (configMap && !configMap['name']) causes.push(required(`${at}.configMap.name`));
  return causes;
}

function namedBy(field: string, name: Json | undefined): Cause[] {
  if (typeof name !== 'string' || name === '') return [required(field)];
  return nameCauses(field, name, dnsLabel);
}

function containerCauses(at: string, container: JsonObject, volumes: ReadonlySet<Json | undefined>): Cause[] {
  const causes = namedBy(`${at}.name`, container['name']);
  const { image, imagePullPolicy } = container;
  if (typeof image !== 'string' || image === '') causes.push(required(`${at}.image`));
  else if (image !== image.trim())
    causes.push(invalidValue(`${at}.image`, image, 'must not have leading or trailing whitespace'));
  listOf(container['ports']).forEach((port, index) =>
    causes.push(...containerPortCauses(`${at}.ports[${index}]`, port)),
  );
  listOf(container['env']).forEach(({ name }, index) => {
    const field = `${at}.env[${index}].name`;
    if (typeof name !== 'string' || name === '') causes.push(required(field));
    else if (!/^[ -<>-~]+$/.test(name)) {
      const why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
      causes.push(invalidValue(field, name, why));
    }
  });
  listOf(container['volumeMounts']).forEach(({ name, mountPath }, index) => {
    const field = `${at}.volumeMounts[${index}]`;
    if (!volumes.has(name)) {
      const message = `Not found: ${JSON.stringify(name)}`;
      causes.push({ reason: 'FieldValueNotFound', message, field: `${field}.name` });
    }
    if (typeof mountPath !== 'string' || mountPath === '') causes.push(required(`${field}.mountPath`));
  });
  const policies = ['Always', 'IfNotPresent', 'Never'];
  if (typeof imagePullPolicy === 'string' && !policies.includes(imagePullPolicy)) {
    causes.push(unsupported(`${at}.imagePullPolicy`, imagePullPolicy, policies));
  }
  causes.push(...resourceCauses(`${at}.resources`, (container['resources'] ?? {}) as JsonObject));
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const probe = container[name];
    if (probe !== undefined) causes.push(...probeCauses(`${at}.${name}`, probe as JsonObject, name));
  }
  return causes;
}

function containerPortCauses(at: string, { name, containerPort }: JsonObject): Cause[] {
  const causes: Cause[] = [];
  if (typeof name === 'string' && name !== '') {
    if (name.length > 15) causes.push(invalidValue(`${at}.name`, name, 'must be no more than 15 characters'));
    if (!/^[-a-z0-9]+$/.test(name)) {
      causes.push(
        invalidValue(`${at}.name`, name, 'must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)'),
      );
    }
    if (!/[a-z]/.test(name)) causes.push(invalidValue(`${at}.name`, name, 'must contain at least one letter (a-z)'));
  }
  if (containerPort === undefined || containerPort === 0) causes.push(required(`${at}.containerPort`));
  else if (typeof containerPort !== 'number' || containerPort < 0 || containerPort > 65_535) {
    causes.push(invalidValue(`${at}.containerPort`, containerPort, 'must be between 1 and 65535, inclusive'));
  }
  return causes;
}

function resourceCauses(at: string, resources: JsonObject): Cause[] {
  const limits = (resources['limits'] ?? {}) as Record<string, string>;
  const requests = (resources['requests'] ?? {}) as Record<string, string>;
  const causes: Cause[] = [];
  for (const [list, values] of Object.entries({ limits, requests })) {
    for (const [name, value] of Object.entries(values)) {
      const field = `${at}.${list}[${name}]`;
      const standard = standardResources.has(name) || name.startsWith('hugepages-');
      if (!standard && !name.includes('/')) {
        causes.push(invalidValue(field, name, 'must be a standard resource type or fully qualified'));
        causes.push(invalidValue(field, name, 'must be a standard resource for containers'));
      }
      if (value.startsWith('-')) causes.push(invalidValue(field, value, 'must be greater than or equal to 0'));
    }
  }
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit === undefined || compareQuantities(request, limit) <= 0) continue;
    causes.push(invalidValue(`${at}.requests`, request, `must be less than or equal to ${name} limit of ${limit}`));
  }
  return causes;
}

function probeCauses(at: string, probe: JsonObject, name: string): Cause[] {
  const causes: Cause[] = [];
  if (!handlers.some((handler) => probe[handler] !== undefined))
    causes.push(required(at, 'must specify a handler type'));
  for (const field of [
    'initialDelaySeconds',
    'timeoutSeconds',
    'periodSeconds',
    'successThreshold',
    'failureThreshold',
  ]) {
    const value = probe[field];
    if (typeof value === 'number' && value < 0) {
      causes.push(invalidValue(`${at}.${field}`, value, 'must be greater than or equal to 0'));
    }
  }
  const successes = probe['successThreshold'];
  if (name !== 'readinessProbe' && typeof successes === 'number' && successes > 1) {
    causes.push(invalidValue(`${at}.successThreshold`, successes, 'must be 1'));
  }
  const port = (probe['httpGet'] as JsonObject | undefined)?.['port'];
  if (typeof port === 'number' && (port < 1 || port > 65_535)) {
    causes.push(invalidValue(`${at}.httpGet.port`, port, 'must be between 1 and 65535, inclusive'));
  }
  return causes;
}
