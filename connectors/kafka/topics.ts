/** The regular expression of `/…/`; undefined when it is none. */
export function expressionOf(text: string): RegExp | undefined {
  const [, source] = /^\/(.+)\/$/.exec(text) ?? [];
  if (source === undefined) return undefined;
  try {
    return new RegExp(source);
  } catch {
    return undefined; // Whoever asks says so, or nothing fits it.
  }
}

/** Makes the test whether a topic is among those that are subscribed to. */
export function subscribesTo(topics: string | readonly string[]): (topic: string) => boolean {
  if (typeof topics !== 'string') return (topic) => topics.includes(topic);
  const expression = expressionOf(topics);
  return (topic) => !topic.startsWith('__') && expression?.test(topic) === true;
}

/** Kafka has no wildcards of its own: a pattern is a name, or a regular expression as `subscribe` takes it. */
export function matchesTopic(pattern: string, topic: string): boolean {
  return pattern === topic || expressionOf(pattern)?.test(topic) === true;
}
