import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { MillraceError } from '../../../core/contracts/errors.ts';

/**
 * The words of a command line, as a POSIX shell makes them: by white space, with quotes and backslashes. Nothing else of
 * a shell is there: `$HOME`, `*`, `|` and `;` stand for themselves.
 *
 * @throws MillraceError when a quote is not closed, or when there is no word.
 */
export function splitCommand(line: string): readonly string[] {
  const words: string[] = [];
  const part = /\s+|'([^']*)'|"((?:[^"\\]|\\[^])*)"|\\([^])|([^\s'"\\]+)/y;
  let word: string | undefined;
  while (part.lastIndex < line.length) {
    const at = part.lastIndex;
    const found = part.exec(line);
    if (!found) throw new MillraceError('config.invalid', `the command has an open quote at character ${at + 1}`);
    const [, single, double, escaped, plain] = found;
    const text = single ?? double?.replaceAll(/\\(["\\$`])/g, '$1') ?? escaped ?? plain;
    if (text !== undefined) word = (word ?? '') + text;
    else if (word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  if (word !== undefined) words.push(word);
  if (words.length === 0) throw new MillraceError('config.invalid', 'the command is empty');
  return words;
}

/**
 * The file that a command names: a path from `cwd` on where it has a slash, or a program on the `path` of its own
 * environment.
 *
 * @throws MillraceError when there is none that may be executed.
 */
export function programOf(command: string, cwd: string, path: string | undefined): string {
  if (command.includes('/')) {
    const file = isAbsolute(command) ? command : resolve(cwd, command);
    if (isProgram(file)) return file;
    throw new MillraceError('config.invalid', `the command ${file} is not there, or may not be executed`);
  }
  for (const folder of (path ?? '').split(delimiter)) {
    const file = join(folder, command);
    if (folder !== '' && isProgram(file)) return file;
  }
  throw new MillraceError('config.invalid', `there is no command "${command}" on the PATH of the function`);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false; // Not there, or not for us: both are told by the caller.
  }
}
