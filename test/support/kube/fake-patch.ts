import { isObject, type Json, type JsonObject, sameJson } from './fake-objects.ts';
import { type Field, schema } from './fake-schema.ts';
import { ApiError, badRequest } from './fake-status.ts';

/** RFC 7386. */
export function mergePatch(target: Json, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: Record<string, Json> = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else merged[name] = mergePatch(merged[name] ?? null, value);
  }
  return merged;
}

/** As a merge, but lists whose items have a name are merged by it, as the type says. */
export function strategicMergePatch(type: string, target: JsonObject, patch: JsonObject): JsonObject {
  if (patch['$patch'] === 'replace') return without(patch, '$patch');
  const fields = schema[type] ?? {};
  const merged: Record<string, Json> = { ...target };
  for (const [name, value] of Object.entries(patch)) {
    if (name.startsWith('$')) continue;
    if (value === null) delete merged[name];
    else merged[name] = strategicField(fields[name], merged[name] ?? null, value);
  }
  for (const [name, value] of Object.entries(patch)) {
    const [, field] = /^\$deleteFromPrimitiveList\/(.+)$/.exec(name) ?? [];
    const list = field === undefined ? undefined : merged[field];
    if (field === undefined || !Array.isArray(list) || !Array.isArray(value)) continue;
    merged[field] = (list as Json[]).filter((item) => !(value as Json[]).includes(item));
  }
  return merged;
}

function strategicField(field: Field | undefined, target: Json, patch: Json): Json {
  if (field?.type === 'object' && isObject(patch)) {
    return strategicMergePatch(field.of, isObject(target) ? target : {}, patch);
  }
  if (field?.type === 'list' && field.merge !== undefined && Array.isArray(patch)) {
    return mergeLists(field, Array.isArray(target) ? (target as Json[]) : [], patch as Json[]);
  }
  return isObject(patch) ? mergePatch(target, patch) : patch;
}

function mergeLists(
  { items, merge }: Field & { type: 'list' },
  target: readonly Json[],
  patch: readonly Json[],
): Json[] {
  if (merge === true) return [...new Set([...target, ...patch])];
  const key = merge ?? '';
  const replaces = patch.some((item) => isObject(item) && item['$patch'] === 'replace' && item[key] === undefined);
  const merged = replaces ? [] : [...target];
  for (const item of patch) {
    if (!isObject(item) || (item['$patch'] === 'replace' && item[key] === undefined)) continue;
    const at = merged.findIndex((other) => isObject(other) && sameJson(other[key], item[key]));
    if (item['$patch'] === 'delete') {
      if (at >= 0) merged.splice(at, 1);
    } else if (at >= 0) merged[at] = strategicField(items, merged[at] ?? null, item);
    // Items that are new come first, in the real one too.
    else merged.unshift(item);
  }
  return merged;
}

function without(object: JsonObject, name: string): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));
}

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: Json;
}

/** RFC 6902. */
export function jsonPatch(target: JsonObject, patch: Json): JsonObject {
  if (!Array.isArray(patch)) {
    throw badRequest('json: cannot unmarshal object into Go value of type jsonpatch.Patch');
  }
  const root = { whole: structuredClone(target) as Json };
  for (const operation of patch as unknown as readonly Operation[]) apply(root, operation);
  return root.whole as JsonObject;
}

function apply(root: { whole: Json }, { op, path, from, value = null }: Operation): void {
  const place = find(root, path);
  switch (op) {
    case 'test':
      if (!sameJson(read(place) ?? null, value)) throw unprocessable(`testing value ${path} failed: test failed`);
      return;
    case 'remove':
      need(place, path);
      remove(place);
      return;
    case 'replace':
      need(place, path);
      write(place, value);
      return;
    case 'add':
      add(place, value);
      return;
    case 'copy':
    case 'move': {
      const source = find(root, from ?? '');
      need(source, from ?? '');
      const moved = structuredClone(read(source) ?? null);
      if (op === 'move') remove(source);
      add(find(root, path), moved);
      return;
    }
    default:
      throw badRequest(`unexpected kind: ${op}`);
  }
}

interface Place {
  readonly parent: Record<string, Json> | Json[];
  readonly key: string;
}

function find(root: { whole: Json }, path: string): Place {
  const keys = path.split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  keys[0] = 'whole';
  let parent = root as unknown as Record<string, Json> | Json[];
  for (const key of keys.slice(0, -1)) {
    const next = read({ parent, key });
    if (typeof next !== 'object' || next === null) {
      throw unprocessable(`the server rejected our request due to an error in our request`);
    }
    parent = next as Record<string, Json> | Json[];
  }
  return { parent, key: keys.at(-1) ?? '' };
}

function read({ parent, key }: Place): Json | undefined {
  return Array.isArray(parent) ? parent[Number(key)] : parent[key];
}

function need(place: Place, _path: string): void {
  if (read(place) === undefined) throw unprocessable('the server rejected our request due to an error in our request');
}

function write({ parent, key }: Place, value: Json): void {
  if (Array.isArray(parent)) parent[Number(key)] = value;
  else parent[key] = value;
}

function add(place: Place, value: Json): void {
  const { parent, key } = place;
  if (Array.isArray(parent)) parent.splice(key === '-' ? parent.length : Number(key), 0, value);
  else write(place, value);
}

function remove({ parent, key }: Place): void {
  if (Array.isArray(parent)) parent.splice(Number(key), 1);
  else delete parent[key];
}

function unprocessable(message: string): ApiError {
  return new ApiError(422, 'Invalid', message, {});
}
