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

/** What the parts of a pattern stand for. */
export interface Wildcards<Token> {
  /** Whether it stands for any number of parts, at least `atLeast`. */
  readonly isRest: (token: Token | undefined) => boolean;
  readonly atLeast: 0 | 1;
  /** Whether it stands for this part. */
  readonly fits: (token: Token, part: string) => boolean;
}

/** Whether the parts fit the pattern. Takes as long as both are, however many of its tokens stand for any number of parts. */
export function fitsPattern<Token>(
  pattern: readonly Token[],
  parts: readonly string[],
  { isRest, atLeast, fits }: Wildcards<Token>,
): boolean {
  let at = 0;
  let index = 0;
  /** Where to go on when the last one that stands for any number takes one part more: others before it need not. */
  let last: { readonly at: number; index: number } | undefined;
  while (index < parts.length) {
    const token = pattern[at];
    if (isRest(token)) {
      index += atLeast;
      last = { at: ++at, index };
    } else if (token !== undefined && fits(token, parts[index] ?? '')) {
      at++;
      index++;
    } else if (last) {
      at = last.at;
      index = ++last.index;
    } else {
      return false;
    }
  }
  return atLeast === 0 ? pattern.slice(at).every(isRest) : at === pattern.length;
}

/** Makes the test whether a topic fits a pattern. */
export function topicMatcher({
  separator,
  one,
  rest,
  atLeast,
}: TopicSyntax): (pattern: string, topic: string) => boolean {
  const wildcards: Wildcards<string> = {
    isRest: (token) => token === rest,
    atLeast,
    fits: (token, part) => token === one || token === part,
  };
  return (pattern, topic) =>
    pattern === topic || fitsPattern(pattern.split(separator), topic.split(separator), wildcards);
}
