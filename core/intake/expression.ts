import { createRequire } from 'node:module';
import type jsonata from 'jsonata';
import { messageOf } from '../contracts/errors.ts';

/** One message must not hold all others: of the time, the depth and the size that an evaluation may take. */
const bounds = { timeout: 250, stack: 200, sequence: 100_000 } as const;

const load = createRequire(import.meta.url);
/** Only where there is an expression: most configurations have none. */
const jsonataOf: typeof jsonata = (...text) => (load('jsonata') as typeof jsonata)(...text);

export type Expression = (input: unknown) => Promise<unknown>;

/** What is wrong with a JSONata text, with the place; undefined when nothing is. */
export function expressionError(text: string): string | undefined {
  try {
    jsonataOf(text);
    return undefined;
  } catch (error) {
    const { position } = error as { readonly position?: unknown };
    return `${problemOf(error)}${typeof position === 'number' ? ` (at character ${position})` : ''}`;
  }
}

/** Compiles it. What it gives is plain data; an evaluation that fails rejects with an Error that says why. */
export function expression(text: string): Expression {
  const compiled = jsonataOf(text, bounds);
  return async (input) => {
    try {
      return plain(await compiled.evaluate(input));
    } catch (error) {
      throw new Error(problemOf(error), { cause: error });
    }
  };
}

/** Its lists carry marks of the evaluation, and functions may be left in it. */
function plain(value: unknown): unknown {
  if (value === undefined || typeof value === 'function') return undefined;
  return JSON.parse(JSON.stringify(value)) as unknown;
}

/** The library throws plain objects. */
function problemOf(error: unknown): string {
  const { message } = error as { readonly message?: unknown };
  return typeof message === 'string' ? message : messageOf(error);
}
