/** How the topics of a broker are built, and what stands in a pattern for parts of them. */
export interface TopicSyntax {
  readonly separator: string;
  /** Stands for one part. */
  readonly one: string;
  /** Stands for any number of parts, at least `atLeast`. */
  readonly rest: string;
  readonly atLeast: 0 | 1;
}

/** `orders.*.eu` and `orders.>`, as NATS has them. */
export const natsTopics: TopicSyntax = { separator: '.', one: '*', rest: '>', atLeast: 1 };

/** Makes the test whether a topic fits a pattern. */
export function topicMatcher(syntax: TopicSyntax): (pattern: string, topic: string) => boolean {
  const { separator, one, rest, atLeast } = syntax;
  const fits = (pattern: readonly string[], topic: readonly string[]): boolean => {
    const [first, ...others] = pattern;
    if (first === undefined) return topic.length === 0;
    if (first !== rest)
      return topic.length > 0 && (first === one || first === topic[0]) && fits(others, topic.slice(1));
    if (others.length === 0) return topic.length >= atLeast;
    for (let taken = atLeast; taken <= topic.length; taken++) if (fits(others, topic.slice(taken))) return true;
    return false;
  };
  return (pattern, topic) => pattern === topic || fits(pattern.split(separator), topic.split(separator));
}
