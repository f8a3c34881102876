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
    let at = 0;
    let index = 0;
    /** Where to go on when the last one that stands for any number takes one part more: that is enough, and never takes long. */
    let last: { readonly at: number; index: number } | undefined;
    while (index < topic.length) {
      const part = pattern[at];
      if (part === rest) {
        index += atLeast;
        last = { at: ++at, index };
      } else if (part !== undefined && (part === one || part === topic[index])) {
        at++;
        index++;
      } else if (last) {
        at = last.at;
        index = ++last.index;
      } else {
        return false;
      }
    }
    return atLeast === 0 ? pattern.slice(at).every((part) => part === rest) : at === pattern.length;
  };
  return (pattern, topic) => pattern === topic || fits(pattern.split(separator), topic.split(separator));
}
