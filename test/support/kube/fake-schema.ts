import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A field of an object, as `real-schema.ts` has it from the real API server. */
export type Field =
  | { readonly type: 'any' | 'boolean' | 'bytes' | 'int-or-string' | 'integer' | 'number' | 'quantity' | 'time' }
  | { readonly type: 'string'; readonly default?: string }
  /** `of` is a type of the schema. */
  | { readonly type: 'object'; readonly of: string }
  | { readonly type: 'map'; readonly items: Field }
  | {
      readonly type: 'list';
      readonly items: Field;
      /** The field by which a strategic merge knows an item; `true`: of plain values. */
      readonly merge?: string | true;
    };

/** The fields of each type by its short name: `apps.v1.Deployment`. */
export type Schema = Readonly<Record<string, Readonly<Record<string, Field>>>>;

export const schema = JSON.parse(readFileSync(join(import.meta.dirname, 'fake-schema.json'), 'utf8')) as Schema;
