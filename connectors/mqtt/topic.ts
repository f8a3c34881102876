import { topicMatcher } from '../../core/kit/topic.ts';

const fits = topicMatcher({ separator: '/', one: '+', rest: '#', atLeast: 0 });
const shared = /^\$share\/[^/]+\//;

/**
 * Whether a topic fits a filter, as the broker would say it: `#` stands for the level above it too, no wildcard for a
 * first level that begins with "$", and the group of a shared subscription for nothing.
 */
export function matches(pattern: string, topic: string): boolean {
  const filter = pattern.replace(shared, '');
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false;
  return fits(filter, topic);
}
