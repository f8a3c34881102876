import { isObject, type Json, type JsonObject, sameJson, textOf } from './fake-objects.ts';
import { listOf } from './fake-defaults.ts';
import {
  annotationCauses,
  configKeyCauses,
  dnsLabel,
  dnsSubdomain,
  invalidValue,
  labelCauses,
  nameCauses,
  required,
  unsupported,
} from './fake-names.ts';
import { podSpecCauses } from './fake-pod-validation.ts';
import {
  configMaps,
  deployments,
  endpointSlices,
  namespaces,
  pods,
  type Resource,
  secrets,
  services,
} from './fake-resources.ts';
import { selects } from './fake-selectors.ts';
import type { Cause } from './fake-status.ts';

type Labels = Readonly<Record<string, string>>;

/** What is wrong with an object that is to be kept, `before` being what it replaces: the causes of a 422. */
export function validate(resource: Resource, object: JsonObject, before: JsonObject | undefined): Cause[] {
  const causes = before ? [] : metadataNameCauses(resource, object);
  const metadata = (object['metadata'] ?? {}) as JsonObject;
  causes.push(...labelCauses('metadata.labels', (metadata['labels'] ?? {}) as Labels));
  causes.push(...annotationCauses('metadata.annotations', (metadata['annotations'] ?? {}) as Labels));
  causes.push(...ownerCauses(listOf(metadata['ownerReferences'])));
  const specOf = (one: JsonObject | undefined): JsonObject => (one?.['spec'] ?? {}) as JsonObject;
  switch (resource) {
    case deployments:
      causes.push(...deploymentCauses(specOf(object), before && specOf(before)));
      break;
    case pods:
      causes.push(...podSpecCauses('spec', specOf(object)));
      break;
    case services:
      causes.push(...serviceCauses(specOf(object), before && specOf(before)));
      break;
    case secrets:
    case configMaps:
      causes.push(...dataCauses(object, before));
      break;
    case endpointSlices:
      causes.push(...sliceCauses(object, before));
      break;
    default:
      if (resource.kind === 'HorizontalPodAutoscaler') causes.push(...autoscalerCauses(specOf(object)));
  }
  return causes;
}

function metadataNameCauses(resource: Resource, { metadata }: JsonObject): Cause[] {
  const { name = '' } = (metadata ?? {}) as { name?: string };
  if (name === '') return [required('metadata.name', 'name or generateName is required')];
  const short = resource === namespaces || resource === services;
  if (short && name.includes('.')) return [invalidValue('metadata.name', name, 'must not contain dots')];
  return nameCauses('metadata.name', name, short ? dnsLabel : dnsSubdomain);
}

function ownerCauses(owners: readonly JsonObject[]): Cause[] {
  return owners.flatMap((owner, index) =>
    ['apiVersion', 'kind', 'name', 'uid']
      .filter((field) => typeof owner[field] !== 'string' || owner[field] === '')
      .map((field) => invalidValue(`metadata.ownerReferences[${index}].${field}`, '', `${field} must not be empty`)),
  );
}

function deploymentCauses(spec: JsonObject, before: JsonObject | undefined): Cause[] {
  const { replicas, selector, template } = spec;
  const causes: Cause[] = [];
  if (typeof replicas === 'number' && replicas < 0) {
    causes.push(invalidValue('spec.replicas', replicas, 'must be greater than or equal to 0'));
  }
  const labels = ((template as JsonObject | undefined)?.['metadata'] as JsonObject | undefined)?.['labels'];
  if (!isObject(selector)) causes.push(required('spec.selector'));
  else if (Object.keys(selector).length === 0) {
    causes.push(invalidValue('spec.selector', selector, 'empty selector is invalid for deployment'));
  }
  if (!isObject(selector) || !selects(selector, (labels ?? {}) as Labels)) {
    const why = '`selector` does not match template `labels`';
    causes.push(invalidValue('spec.template.metadata.labels', labels ?? null, why));
  }
  causes.push(...labelCauses('spec.template.labels', (labels ?? {}) as Labels));
  const pod = (isObject(template) ? template['spec'] : undefined) as JsonObject | undefined;
  causes.push(...podSpecCauses('spec.template.spec', pod ?? {}));
  const restart = pod?.['restartPolicy'] ?? 'Always';
  if (restart !== 'Always') causes.push(unsupported('spec.template.spec.restartPolicy', textOf(restart), ['Always']));
  if (before && !sameJson(before['selector'], selector)) {
    causes.push(invalidValue('spec.selector', selector ?? null, 'field is immutable'));
  }
  return causes;
}

function serviceCauses(spec: JsonObject, before: JsonObject | undefined): Cause[] {
  const ports = listOf(spec['ports']);
  const external = spec['type'] === 'ExternalName';
  const causes: Cause[] = [];
  if (ports.length === 0 && !external && spec['clusterIP'] !== 'None') causes.push(required('spec.ports'));
  ports.forEach((port, index) => {
    const at = `spec.ports[${index}]`;
    const named = typeof port['name'] === 'string' && port['name'] !== '';
    if (!named && ports.length > 1) causes.push(required(`${at}.name`));
    causes.push(...portCauses(`${at}.port`, port['port'] ?? 0));
    if (typeof port['targetPort'] === 'number') causes.push(...portCauses(`${at}.targetPort`, port['targetPort']));
  });
  causes.push(...labelCauses('spec.selector', (spec['selector'] ?? {}) as Labels));
  if (before && !external && before['clusterIP'] !== spec['clusterIP']) {
    const why = 'may not change once set';
    causes.push(invalidValue('spec.clusterIPs[0]', spec['clusterIPs'] ?? [spec['clusterIP'] ?? ''], why));
  }
  return causes;
}

export function portCauses(field: string, port: Json): Cause[] {
  const good = typeof port === 'number' && port >= 1 && port <= 65_535;
  return good ? [] : [invalidValue(field, port, 'must be between 1 and 65535, inclusive')];
}

function dataCauses(object: JsonObject, before: JsonObject | undefined): Cause[] {
  const data = (object['data'] ?? {}) as JsonObject;
  const causes = configKeyCauses('data', Object.keys(data));
  const bytes = Object.values(data).reduce<number>((sum, value) => sum + textOf(value).length, 0);
  if (bytes > 1_048_576 * (object['type'] === undefined ? 1 : 4 / 3)) {
    causes.push({
      reason: 'FieldValueTooLong',
      message: 'Too long: may not be more than 1048576 bytes',
      field: 'data',
    });
  }
  if (!before) return causes;
  if (before['type'] !== object['type']) causes.push(invalidValue('type', object['type'], 'field is immutable'));
  if (before['immutable'] === true && !sameJson(before['data'], object['data'])) {
    const message = 'Forbidden: field is immutable when `immutable` is set';
    causes.push({ reason: 'FieldValueForbidden', message, field: 'data' });
  }
  return causes;
}

/**
 * The fake's own slices have loopback addresses, where its stand-in pods are: its controllers write past validation.
 * What clients send is refused, as the real one refuses it.
 */
function sliceCauses(object: JsonObject, before: JsonObject | undefined): Cause[] {
  const causes: Cause[] = [];
  if (object['addressType'] === undefined) causes.push(required('addressType'));
  if (before && before['addressType'] !== object['addressType']) {
    causes.push(invalidValue('addressType', object['addressType'], 'field is immutable'));
  }
  listOf(object['endpoints']).forEach((endpoint, index) => {
    const addresses = (endpoint['addresses'] ?? []) as readonly string[];
    if (addresses.length === 0)
      causes.push(required(`endpoints[${index}].addresses`, 'must contain at least 1 address'));
    addresses.forEach((address, place) => {
      if (!address.startsWith('127.') && address !== '::1') return;
      const why = 'may not be in the loopback range (127.0.0.0/8, ::1/128)';
      causes.push(invalidValue(`endpoints[${index}].addresses[${place}]`, address, why));
    });
  });
  return causes;
}

function autoscalerCauses(spec: JsonObject): Cause[] {
  const causes: Cause[] = [];
  const target = (spec['scaleTargetRef'] ?? {}) as JsonObject;
  if (target['kind'] === undefined) causes.push(required('spec.scaleTargetRef.kind'));
  if (target['name'] === undefined) causes.push(required('spec.scaleTargetRef.name'));
  const most = spec['maxReplicas'] ?? 0;
  if (typeof most !== 'number' || most < 1) {
    causes.push(invalidValue('spec.maxReplicas', most, 'must be greater than 0'));
  }
  return causes;
}
