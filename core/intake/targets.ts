import type { MessageSettings } from '../config/messages.ts';
import type { MessageTraits } from '../contracts/message.ts';
import type { Catalog } from '../functions/catalog.ts';

/** Topics whose functions are kept in mind; brokers may have any number of them. */
const maxRemembered = 10_000;

/** Which functions a topic runs: those that the file names, or those that say so themselves by an annotation. */
export function targetsOf(
  { function: one, functions, annotation }: MessageSettings,
  { matches }: MessageTraits,
  catalog: Pick<Catalog, 'list' | 'changes'>,
  signal: AbortSignal,
): (topic: string) => readonly string[] {
  if (annotation === undefined) {
    const named = functions ?? (one === undefined ? [] : [one]);
    return () => named;
  }
  const remembered = new Map<string, readonly string[]>();
  const following = catalog.changes.subscribe(() => remembered.clear());
  signal.addEventListener('abort', () => following.unsubscribe(), { once: true });
  return (topic) => {
    const known = remembered.get(topic);
    if (known) return known;
    const found = catalog
      .list()
      .filter(({ spec }) => patternsOf(spec.annotations[annotation]).some((pattern) => matches(pattern, topic)))
      .map(({ name }) => name);
    if (remembered.size >= maxRemembered) remembered.clear();
    remembered.set(topic, found);
    return found;
  };
}

function patternsOf(annotation: string | undefined): string[] {
  return (annotation ?? '')
    .split(',')
    .map((pattern) => pattern.trim())
    .filter((pattern) => pattern !== '');
}
