import type { KubeObject } from './fake-objects.ts';
import { badRequest } from './fake-status.ts';

export type Matcher = (object: KubeObject) => boolean;
type Labels = Readonly<Record<string, string>>;

export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
    readonly values?: readonly string[];
  }[];
}

/** Of `labelSelector` in a query. */
export function labelMatcher(text: string): Matcher {
  const requirements = text
    .split(/,(?![^(]*\))/)
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(requirementOf);
  return ({ metadata: { labels = {} } }) => requirements.every((matches) => matches(labels));
}

function requirementOf(text: string): (labels: Labels) => boolean {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(text);
  if (set) {
    const [, key = '', operator, list = ''] = set;
    const values = new Set(list.split(',').map((value) => value.trim()));
    return operator === 'in'
      ? (labels) => labels[key] !== undefined && values.has(labels[key])
      : (labels) => labels[key] === undefined || !values.has(labels[key]);
  }
  const pair = /^([^\s=!]+)\s*(==|=|!=)\s*(\S*)$/.exec(text);
  if (pair) {
    const [, key = '', operator, value = ''] = pair;
    return operator === '!=' ? (labels) => labels[key] !== value : (labels) => labels[key] === value;
  }
  const lone = /^(!?)([^\s=!(),]+)$/.exec(text);
  if (!lone) {
    const found = text.split(/\s+/)[1] ?? '';
    throw badRequest(`unable to parse requirement: found '${found}', expected: in, notin, =, ==, !=, gt, lt`);
  }
  const [, not, key = ''] = lone;
  return (labels) => (labels[key] === undefined) === (not === '!');
}

/** Fields that a kind can be selected by, besides its name and namespace. */
const fieldsOf: Readonly<Record<string, Readonly<Record<string, (object: KubeObject) => unknown>>>> = {
  secrets: { type: (object) => object['type'] },
  pods: {
    'spec.nodeName': ({ spec }) => spec?.['nodeName'],
    'status.phase': ({ status }) => status?.['phase'],
    'status.podIP': ({ status }) => status?.['podIP'],
  },
  namespaces: { 'status.phase': ({ status }) => status?.['phase'] },
};

/** Of `fieldSelector` in a query: those by name, by namespace, and by what its kind allows. */
export function fieldMatcher(text: string, plural: string): Matcher {
  const known = {
    'metadata.name': ({ metadata }: KubeObject) => metadata.name,
    'metadata.namespace': ({ metadata }: KubeObject) => metadata.namespace,
    ...fieldsOf[plural],
  };
  const wanted = text.split(',').map((part) => {
    const [, field = part, operator, value = ''] = /^([^=!]+)(==|=|!=)(.*)$/.exec(part) ?? [];
    const read = known[field as keyof typeof known];
    if (read === undefined) {
      if (fieldsOf[plural]) throw badRequest(`field label not supported: ${field}`);
      throw badRequest(`"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`);
    }
    return { read, operator, value };
  });
  return (object) => wanted.every(({ read, operator, value }) => (read(object) === value) === (operator !== '!='));
}

/** Of a selector inside an object. One without any requirement matches everything. */
export function selects({ matchLabels = {}, matchExpressions = [] }: LabelSelector, labels: Labels = {}): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === 'Exists') return value !== undefined;
      if (operator === 'DoesNotExist') return value === undefined;
      return (value !== undefined && values.includes(value)) === (operator === 'In');
    })
  );
}
