import { fitsPattern, type Wildcards } from '../../core/kit/topic.ts';

/**
 * Whether a topic fits a pattern of Redis: `*` stands for any characters, `?` for one, `[a-z]` for one of these, `[^a-z]`
 * for one of all others; `\` takes the next character as it is. By characters, where Redis goes by bytes.
 */
export function matchesGlob(pattern: string, topic: string): boolean {
  return fitsPattern(tokensOf(pattern), [...topic], wildcards);
}

type Token = (character: string) => boolean;

/** Any number of characters; it is told by its identity. */
const any: Token = () => true;
const one: Token = () => true;
const wildcards: Wildcards<Token> = {
  isRest: (token) => token === any,
  atLeast: 0,
  fits: (token, character) => token(character),
};

function tokensOf(pattern: string): readonly Token[] {
  const characters = [...pattern];
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? '';
    if (character === '*') {
      tokens.push(any);
    } else if (character === '?') {
      tokens.push(one);
    } else if (character === '[') {
      const set = setOf(characters, at + 1);
      tokens.push(set.token);
      at = set.last;
    } else {
      // A backslash at the very end is itself.
      const isEscape = character === '\\' && at + 1 < characters.length;
      const literal = isEscape ? characters[++at] : character;
      tokens.push((given) => given === literal);
    }
  }
  return tokens;
}

/** What stands in brackets, from the character after the opening one. Without a closing one it goes to the end. */
function setOf(characters: readonly string[], from: number): { readonly token: Token; readonly last: number } {
  const ranges: (readonly [first: string, last: string])[] = [];
  const isOthers = characters[from] === '^';
  let at = isOthers ? from + 1 : from;
  for (; at < characters.length && characters[at] !== ']'; at++) {
    const first = characters[at] ?? '';
    if (first === '\\' && at + 1 < characters.length) {
      const literal = characters[++at] ?? '';
      ranges.push([literal, literal]);
    } else if (characters[at + 1] === '-' && at + 2 < characters.length) {
      const last = characters[at + 2] ?? '';
      ranges.push(codeOf(first) <= codeOf(last) ? [first, last] : [last, first]);
      at += 2;
    } else {
      ranges.push([first, first]);
    }
  }
  const token: Token = (given) => {
    const code = codeOf(given);
    return ranges.some(([first, last]) => codeOf(first) <= code && code <= codeOf(last)) !== isOthers;
  };
  return { token, last: at };
}

function codeOf(character: string): number {
  return character.codePointAt(0) ?? 0;
}
