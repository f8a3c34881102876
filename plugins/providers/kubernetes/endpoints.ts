import type { KubeEndpointSlice } from './kinds.ts';
import { functionPort } from './objects/words.ts';

/** What OpenFaaS and Millrace call the port of a function. */
const portName = 'http';

/** Where one pod of a function listens. */
export interface Endpoint {
  /** Of the pod and its address: another pod that gets the same address is another endpoint. */
  readonly key: string;
  /** `http://ADDRESS:PORT` */
  readonly origin: string;
  /** It takes calls: it is ready, and is not being ended. */
  readonly isReady: boolean;
}

/**
 * The endpoints in all slices of one Service. A pod counts once, whatever slices it is in: of a Service with both IP
 * families it has an address of each, and while the slices are being rearranged it may be in two (EndpointSlices,
 * "Duplicate endpoints": https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#duplicate-endpoints).
 */
export function endpointsOf(slices: Iterable<KubeEndpointSlice>): Endpoint[] {
  const byPod = new Map<string, Endpoint & { readonly family: string }>();
  for (const { addressType: family, endpoints, ports } of slices) {
    if (family !== 'IPv4' && family !== 'IPv6') continue;
    const port = portOf(ports);
    for (const { addresses, conditions = {}, targetRef } of endpoints ?? []) {
      const [address] = addresses; // The others, if any, stand for the same (API reference, EndpointSlice v1).
      if (address === undefined) continue;
      const host = family === 'IPv6' ? `[${address}]` : address;
      const origin = `http://${host}:${port}`;
      const pod = targetRef?.uid ?? address;
      const isReady = conditions.ready !== false && conditions.terminating !== true;
      const known = byPod.get(pod);
      // IPv4 goes first; of two that differ only in what they say, the one that is ready was looked at later.
      const isBetter = !known || (known.family === family ? isReady && !known.isReady : family === 'IPv4');
      if (isBetter) byPod.set(pod, { key: `${pod} ${origin}`, origin, isReady, family });
    }
  }
  return [...byPod.values()];
}

/** A list without entries may be `null`. */
function portOf(ports: KubeEndpointSlice['ports'] | null): number {
  const tcp = (ports ?? []).filter(({ protocol = 'TCP', port }) => protocol === 'TCP' && port);
  const found = tcp.find(({ name }) => name === portName) ?? tcp[0];
  return found?.port ?? functionPort;
}
