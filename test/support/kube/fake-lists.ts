import { without } from './fake-objects.ts';
import type { KubeObject } from './fake-objects.ts';
import { apiVersionOf, type Resource } from './fake-resources.ts';
import type { Matcher } from './fake-selectors.ts';
import { badRequest, expiredContinue, tooLargeVersion } from './fake-status.ts';
import type { Store } from './fake-store.ts';

export interface ListRequest {
  readonly resource: Resource;
  readonly namespace: string | undefined;
  readonly matches: Matcher;
  readonly limit: number;
  readonly continue: string | undefined;
  readonly version: string | undefined;
}

export interface Page {
  readonly items: readonly KubeObject[];
  readonly metadata: {
    readonly resourceVersion: string;
    readonly continue?: string;
    readonly remainingItemCount?: number;
  };
}

interface Rest {
  readonly items: readonly KubeObject[];
  readonly version: number;
}

/** Answers lists, page by page of what there was when the first page was asked for. */
export class Lists {
  readonly #store: Store;
  readonly #rests = new Map<string, Rest>();
  #tokens = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  page(request: ListRequest): Page {
    const { items, version } = this.#from(request);
    const { limit } = request;
    if (limit === 0 || items.length <= limit) return { items, metadata: { resourceVersion: String(version) } };
    const rest = items.slice(limit);
    const token = Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: version, start: ++this.#tokens })).toString(
      'base64url',
    );
    this.#rests.set(token, { items: rest, version });
    const metadata = { resourceVersion: String(version), continue: token, remainingItemCount: rest.length };
    return { items: items.slice(0, limit), metadata };
  }

  /** Pages that were begun cannot be gone on with. */
  forget(): void {
    this.#rests.clear();
  }

  #from({ resource, namespace, matches, version, continue: token }: ListRequest): Rest {
    if (token !== undefined && token !== '') {
      if (!/^[\w-]+$/.test(token) || !Buffer.from(token, 'base64url').toString().startsWith('{')) {
        throw badRequest(
          'invalid continue token: continue key is not valid: invalid character looking for beginning of value',
        );
      }
      const rest = this.#rests.get(token);
      if (!rest) throw expiredContinue();
      return rest;
    }
    if (version !== undefined && version !== '') {
      if (!/^\d+$/.test(version)) {
        const why = `strconv.ParseUint: parsing ${JSON.stringify(version)}: invalid syntax`;
        throw badRequest(
          `invalid resource version: resourceVersion: Invalid value: ${JSON.stringify(version)}: ${why}`,
        );
      }
      if (Number(version) > this.#store.version) throw tooLargeVersion(Number(version), this.#store.version);
    }
    return { items: this.#store.list(resource, namespace).filter(matches), version: this.#store.version };
  }
}

/** Objects of the API server's own kinds do not say in a list what they are; those of definitions do. */
export function listBody(resource: Resource, { items, metadata }: Page): object {
  const told = resource.custom ? items : items.map((item) => without(item, 'apiVersion', 'kind'));
  return { kind: `${resource.kind}List`, apiVersion: apiVersionOf(resource), metadata, items: told };
}
