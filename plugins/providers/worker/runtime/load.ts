import type { FetchHandler, Handler } from '../api.ts';

/** What a module turned out to be. */
export type Loaded =
  | { readonly fetches: false; readonly handle: Handler }
  | { readonly fetches: true; readonly handle: FetchHandler };

/** Imports a function's module. Rejects with what is wrong with it, the file named. */
export async function load(url: string): Promise<Loaded> {
  const file = decodeURIComponent(new URL(url).pathname);
  let module: unknown;
  try {
    module = await import(/* @vite-ignore */ url);
  } catch (error) {
    throw new Error(`${file} cannot be imported: ${describe(error)}`, { cause: error });
  }
  const { default: main, fetch: named } = module as { readonly default?: unknown; readonly fetch?: unknown };
  if (typeof main === 'object' && main !== null && 'fetch' in main && typeof main.fetch === 'function') {
    // Bound, so that a class instance finds its own fields.
    return { fetches: true, handle: main.fetch.bind(main) as FetchHandler };
  }
  if (typeof main === 'function') return { fetches: false, handle: main as Handler };
  if (typeof named === 'function') return { fetches: true, handle: named as FetchHandler };
  throw new Error(`${file} exports no function: expected a default function, or "fetch"`);
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
