import type { FastifyInstance } from 'fastify';
import { MillraceError } from '../contracts/errors.ts';

/** Nothing that the API takes is deeper than a few levels. */
const maxDepth = 64;
/** Nor has it so many names: each costs a look-up, and who chooses them could make those slow (CVE-2025-27209). */
const maxNames = 10_000;

/**
 * Makes `application/json` the only body that routes of this server take. Refuses depth before parsing, since code that
 * walks a value by recursion ends with the stack, and names that would reach into a prototype.
 */
export function acceptJsonOnly(server: FastifyInstance): void {
  const parse = server.getDefaultJsonParser('error', 'error');
  server.removeAllContentTypeParsers();
  server.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    if (body.length === 0) return done(null, undefined);
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(body);
    } catch {
      return done(invalid('the body is not UTF-8'), undefined);
    }
    const excess = excessOf(text);
    if (excess !== undefined) return done(invalid(excess), undefined);
    void parse(request, text, (error, value) => {
      // The parser's own words quote the body, which may hold anything.
      if (error)
        done(invalid('the body is not valid JSON, or holds "__proto__" or "constructor.prototype"'), undefined);
      else done(null, value);
    });
  });
}

/** What the text has too much of, in words. */
function excessOf(text: string): string | undefined {
  let depth = 0;
  let names = 0;
  let inString = false;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (inString) {
      if (character === '\\') index++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') {
      if (++depth > maxDepth) return `the body is nested deeper than ${maxDepth} levels`;
    } else if (character === '}' || character === ']') depth--;
    else if (character === ':' && ++names > maxNames) return `the body has more than ${maxNames} names`;
  }
  return undefined;
}

function invalid(message: string): MillraceError {
  return new MillraceError('request.invalid', message);
}
