/** How every command ends. Scripts depend on these numbers; docs and `--help` show the same table. */
export const exitCodes = {
  /** It was done. */
  ok: 0,
  /** The function or the request failed. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** No gateway answers; of `check --connect`: no broker. */
  unreachable: 3,
  /** There is no such function, invocation, queue or dead letter. */
  notFound: 4,
  /** Credentials are missing or wrong, or do not allow it. */
  unauthorized: 5,
} as const;

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** For the help of commands that talk to a gateway. */
export const exitCodeHelp = `
Exit codes:
  0  done
  1  the function or the request failed
  2  the command line or the configuration is wrong
  3  no gateway answers
  4  no such function, invocation, queue or dead letter
  5  credentials are missing or wrong, or do not allow it
`;
