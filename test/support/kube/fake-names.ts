import type { Cause } from './fake-status.ts';

interface NameRule {
  readonly pattern: RegExp;
  readonly longest: number;
  readonly why: string;
}

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const subdomain = `${label}(\\.${label})*`;

/** What most names of objects have to be. */
export const dnsSubdomain: NameRule = {
  pattern: new RegExp(`^${subdomain}$`),
  longest: 253,
  why:
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end " +
    `with an alphanumeric character (e.g. 'example.com', regex used for validation is '${subdomain}')`,
};

/** Names of namespaces, services, containers and volumes. */
export const dnsLabel: NameRule = {
  pattern: new RegExp(`^${label}$`),
  longest: 63,
  why:
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an " +
    `alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${label}')`,
};

const labelKeyPattern = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const labelKey: NameRule = {
  pattern: new RegExp(`^${labelKeyPattern}$`),
  longest: 63,
  why:
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric " +
    `character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '${labelKeyPattern}')`,
};
const labelValuePattern = '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?';
const labelValue: NameRule = {
  pattern: new RegExp(`^${labelValuePattern}$`),
  longest: 63,
  why:
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end " +
    `with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '${labelValuePattern}')`,
};
const configKey: NameRule = {
  pattern: /^[-._a-zA-Z0-9]+$/,
  longest: 253,
  why:
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or " +
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
};

export function required(field: string, why?: string): Cause {
  const message = why === undefined ? 'Required value' : `Required value: ${why}`;
  return { reason: 'FieldValueRequired', message, field };
}

export function invalidValue(field: string, value: unknown, why: string): Cause {
  return { reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field };
}

export function unsupported(field: string, value: string, supported: readonly string[]): Cause {
  const list = supported.map((one) => JSON.stringify(one)).join(', ');
  const message = `Unsupported value: ${JSON.stringify(value)}: supported values: ${list}`;
  return { reason: 'FieldValueNotSupported', message, field };
}

/** What is wrong with a name under that rule. */
export function nameCauses(field: string, name: string, { pattern, longest, why }: NameRule): Cause[] {
  const causes: Cause[] = [];
  if (name.length > longest) {
    causes.push({
      reason: 'FieldValueInvalid',
      message: `Invalid value: ${JSON.stringify(name)}: must be no more than ${longest} bytes`,
      field,
    });
  }
  if (!pattern.test(name)) causes.push(invalidValue(field, name, why));
  return causes;
}

export function labelCauses(field: string, labels: Readonly<Record<string, string>>): Cause[] {
  return Object.entries(labels).flatMap(([key, value]) => [
    ...keyCauses(field, key),
    ...nameCauses(field, value, labelValue),
  ]);
}

export function annotationCauses(field: string, annotations: Readonly<Record<string, string>>): Cause[] {
  const causes = Object.keys(annotations).flatMap((key) => keyCauses(field, key.toLowerCase()));
  const bytes = Object.entries(annotations).reduce(
    (sum, [key, value]) => sum + key.length + Buffer.byteLength(value),
    0,
  );
  if (bytes > 262_144) {
    causes.push({ reason: 'FieldValueTooLong', message: 'Too long: may not be more than 262144 bytes', field });
  }
  return causes;
}

export function configKeyCauses(field: string, keys: readonly string[]): Cause[] {
  return keys.flatMap((key) => nameCauses(`${field}[${key}]`, key, configKey));
}

/** `[PREFIX/]NAME`. */
function keyCauses(field: string, key: string): Cause[] {
  const parts = key.split('/');
  const [first = '', second] = parts;
  const prefix = second === undefined ? [] : nameCauses(field, first, dnsSubdomain);
  return [...prefix, ...nameCauses(field, second ?? first, labelKey)];
}
