import { z } from 'zod';
import type { EventView } from './event.ts';

/** The dialects of the CloudEvents subscriptions API that need no language of their own. */
export type Filter =
  | { readonly exact: Readonly<Record<string, string | number | boolean>> }
  | { readonly prefix: Readonly<Record<string, string>> }
  | { readonly suffix: Readonly<Record<string, string>> }
  | { readonly all: readonly Filter[] }
  | { readonly any: readonly Filter[] }
  | { readonly not: Filter };

const path = z.string().regex(/^[^.\s]+(\.[^.\s]+)*$/, 'expected an attribute (type), headers.NAME or data.PATH');
const texts = z.record(path, z.string()).refine((each) => Object.keys(each).length > 0, 'expected at least one');

/** Its members stand by themselves, so that the reference can name them. */
export const filterSchema: z.ZodType<Filter> = z.lazy(() =>
  z.union([
    z.strictObject({
      exact: z
        .record(path, z.union([z.string(), z.number(), z.boolean()]))
        .refine((each) => Object.keys(each).length > 0, 'expected at least one'),
    }),
    z.strictObject({ prefix: texts }),
    z.strictObject({ suffix: texts }),
    z.strictObject({ all: z.array(filterSchema).min(1) }),
    z.strictObject({ any: z.array(filterSchema).min(1) }),
    z.strictObject({ not: filterSchema }),
  ]),
);

/** Whether the event passes; what an event does not have fits nothing. */
export function passes(filter: Filter, event: EventView): boolean {
  if ('all' in filter) return filter.all.every((each) => passes(each, event));
  if ('any' in filter) return filter.any.some((each) => passes(each, event));
  if ('not' in filter) return !passes(filter.not, event);
  if ('exact' in filter) return every(filter.exact, event, (found, wanted) => found === wanted);
  if ('prefix' in filter) return every(filter.prefix, event, (found, wanted) => found.startsWith(wanted));
  return every(filter.suffix, event, (found, wanted) => found.endsWith(wanted));
}

function every(
  wanted: Readonly<Record<string, string | number | boolean>>,
  event: EventView,
  fits: (found: string, wanted: string) => boolean,
): boolean {
  return Object.entries(wanted).every(([at, value]) => {
    const found = valueAt(event, at);
    return found !== undefined && fits(found, String(value));
  });
}

/** The text of what stands there; a header that came several times is its values with commas, as in HTTP. */
function valueAt(event: EventView, at: string): string | undefined {
  if (at.startsWith('headers.')) {
    const value = event.headers[at.slice(8).toLowerCase()];
    return value === undefined ? undefined : [value].flat().join(', ');
  }
  let node: unknown = event;
  for (const part of at.split('.')) {
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, part)) return undefined;
    node = (node as Record<string, unknown>)[part];
  }
  return typeof node === 'string' || typeof node === 'number' || typeof node === 'boolean' ? String(node) : undefined;
}
