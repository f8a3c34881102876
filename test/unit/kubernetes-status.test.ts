import { describe, expect, it } from 'vitest';
import { endpointsOf } from '../../plugins/providers/kubernetes/endpoints.ts';
import type { KubeDeployment, KubeEndpointSlice } from '../../plugins/providers/kubernetes/kinds.ts';
import { isAsNew } from '../../plugins/providers/kubernetes/informer.ts';
import { maxInflightOf, statusOf } from '../../plugins/providers/kubernetes/status.ts';

type Endpoint = NonNullable<KubeEndpointSlice['endpoints']>[number];

function slice(endpoints: readonly Endpoint[] | null, set: Partial<KubeEndpointSlice> = {}): KubeEndpointSlice {
  return {
    metadata: { name: 's', resourceVersion: '1' },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: endpoints as Endpoint[],
    ...set,
  };
}
function at(address: string, conditions?: Endpoint['conditions'], uid?: string): Endpoint {
  return {
    addresses: [address],
    ...(conditions && { conditions }),
    ...(uid !== undefined && { targetRef: { kind: 'Pod', uid } }),
  };
}
function deployment(set: Partial<KubeDeployment> = {}, generation = 1): KubeDeployment {
  return { metadata: { name: 'a', namespace: 'fn', resourceVersion: '1', generation }, ...set };
}

describe('endpoints of slices', () => {
  const found = (...slices: readonly KubeEndpointSlice[]) =>
    endpointsOf(slices).map(({ origin, isReady }) => `${origin}${isReady ? '' : ' not'}`);

  it('are ready unless a condition says otherwise', () => {
    const all = [
      at('10.1.0.1'),
      at('10.1.0.2', { ready: true, serving: true, terminating: false }),
      at('10.1.0.3', { ready: false, serving: false }),
      at('10.1.0.4', { ready: false, serving: true, terminating: true }),
      at('10.1.0.5', { ready: true, serving: true, terminating: true }), // publishNotReadyAddresses
    ];
    expect(found(slice(all))).toEqual([
      'http://10.1.0.1:8080',
      'http://10.1.0.2:8080',
      'http://10.1.0.3:8080 not',
      'http://10.1.0.4:8080 not',
      'http://10.1.0.5:8080 not',
    ]);
  });
  it('are those of all slices, each with the port of its own', () => {
    const other = slice([at('10.1.0.2')], { ports: [{ name: 'http', port: 9000 }] });
    expect(found(slice([at('10.1.0.1')]), other)).toEqual(['http://10.1.0.1:8080', 'http://10.1.0.2:9000']);
  });
  it('have the port that is called http, or the first for TCP, or that of functions', () => {
    const ports = [
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'metrics', port: 8081 },
      { name: 'http', port: 3000 },
    ];
    expect(found(slice([at('10.1.0.1')], { ports }))).toEqual(['http://10.1.0.1:3000']);
    expect(found(slice([at('10.1.0.1')], { ports: ports.slice(0, 2) }))).toEqual(['http://10.1.0.1:8081']);
    expect(found(slice([at('10.1.0.1')], { ports: null as never }))).toEqual(['http://10.1.0.1:8080']);
    expect(found(slice([at('10.1.0.1')], { ports: [{ name: '' }] }))).toEqual(['http://10.1.0.1:8080']);
  });
  it('count a pod once: in two slices, with two families', () => {
    const two = [slice([at('10.1.0.1', { ready: false }, 'u')]), slice([at('10.1.0.1', { ready: true }, 'u')])];
    expect(found(...two)).toEqual(['http://10.1.0.1:8080']);
    expect(found(...two.toReversed())).toEqual(['http://10.1.0.1:8080']);
    const six = slice([at('fd00::1', {}, 'u'), at('fd00::2', {}, 'v')], { addressType: 'IPv6' });
    const four = slice([at('10.1.0.1', {}, 'u')]);
    for (const all of [
      [six, four],
      [four, six],
    ]) {
      expect(found(...all).toSorted()).toEqual(['http://10.1.0.1:8080', 'http://[fd00::2]:8080']);
    }
  });
  it('of another pod with the same address are others', () => {
    const [one] = endpointsOf([slice([at('10.1.0.1', {}, 'u')])]);
    const [other] = endpointsOf([slice([at('10.1.0.1', {}, 'v')])]);
    expect(one?.key).not.toBe(other?.key);
  });
  it('are none in what has no addresses', () => {
    expect(found(slice(null), slice([at('pod.example')], { addressType: 'FQDN' }))).toEqual([]);
  });
});

describe('the status of a function', () => {
  const view = { wanted: 2, ready: 2, available: 2, perPod: 128, scaledBy: undefined };
  const late = {
    type: 'Progressing',
    status: 'False',
    reason: 'ProgressDeadlineExceeded',
    message: 'ReplicaSet "a-1" has timed out progressing.',
  };
  const refused = { type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message: 'exceeded quota' };
  const withCondition = (condition: typeof late, observedGeneration = 1): KubeDeployment =>
    deployment({ status: { observedGeneration, conditions: [condition] } });

  it.each([
    ['cold', { wanted: 0 }, { replicas: 0, availableReplicas: 0, capacity: 0 }],
    ['scaling', { ready: 0, available: 0 }, { replicas: 2, availableReplicas: 0, message: undefined }],
    ['ready', { ready: 1, available: 1 }, { replicas: 2, availableReplicas: 1, capacity: 128 }],
    ['ready', { ready: 2, available: 0 }, { availableReplicas: 0, message: 'none of its pods can be connected to' }],
    ['ready', { scaledBy: 'ScaledObject a' }, { scaledBy: 'ScaledObject a' }],
  ])('is %s with %o', (state, set, expected) => {
    expect(statusOf('a.fn', deployment(), { ...view, ...set })).toMatchObject({ name: 'a.fn', state, ...expected });
  });
  it.each([late, refused])('is failed with the reason when no pod comes up: $reason', (condition) => {
    const told = withCondition(condition);
    const message = `${condition.reason}: ${condition.message}`;
    expect(statusOf('a.fn', told, { ...view, ready: 0, available: 0 })).toMatchObject({ state: 'failed', message });
    expect(statusOf('a.fn', told, { ...view, ready: 1, available: 1 })).toMatchObject({ state: 'ready', message });
    expect(statusOf('a.fn', told, { ...view, wanted: 0 })).toMatchObject({ state: 'cold' });
  });
  it('is not that of the Deployment as it was before', () => {
    const changed = { ...withCondition(late), metadata: { ...deployment().metadata, generation: 2 } };
    expect(statusOf('a.fn', changed, { ...view, ready: 0 })).toMatchObject({ state: 'scaling' });
  });
  it.each([
    ['5', 5],
    ['0', undefined],
    ['many', undefined],
  ])('max_inflight %s', (value, expected) => {
    const template = { spec: { containers: [{ name: 'a', env: [{ name: 'max_inflight', value }] }] } };
    expect(maxInflightOf(deployment({ spec: { selector: {}, template } }))).toBe(expected);
    expect(maxInflightOf(deployment())).toBeUndefined();
  });
});

it('a version is as new as another by its number', () => {
  expect([isAsNew('10', '9'), isAsNew('9', '10'), isAsNew('10', '10'), isAsNew('11', '10')]).toEqual([
    true,
    false,
    true,
    true,
  ]);
});
