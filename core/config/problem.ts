import { MillraceError } from '../contracts/errors.ts';

/** Where something stands in a file; lines and columns from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One thing that is wrong with a configuration, and where. */
export interface Problem extends Place {
  /** Keys from the root, joined by dots; empty for the file itself. */
  readonly path: string;
  readonly message: string;
  readonly severity: 'error' | 'warning';
  /** Of a warning: the rule, which docs/lint.md explains. */
  readonly code?: string | undefined;
}

const maxLength = 600;

/** `config/millrace.yaml:12:5 connectors.nightly.schedul: unknown key, did you mean "schedule"?` */
export function formatProblem({ file, line, column, path, message, severity, code }: Problem): string {
  const what = severity === 'warning' ? `warning: ${message} [${code ?? 'warning'}]` : message;
  return printable(`${file}:${line}:${column} ${path === '' ? '' : `${path}: `}${what}`);
}

/** Keys and values are a stranger's: control characters would write over the terminal, and pages of them hide the rest. */
function printable(text: string): string {
  const line = text.replaceAll(
    // oxlint-disable-next-line no-control-regex -- finding them is the purpose.
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g,
    (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return line.length > maxLength ? `${line.slice(0, maxLength - 1)}…` : line;
}

/** Thrown where a configuration is needed and there is none. Its message lists every problem. */
export class ConfigError extends MillraceError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super('config.invalid', problems.map(formatProblem).join('\n'));
    this.problems = problems;
  }
}
