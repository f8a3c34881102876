import type { Completions, Values } from './completions.ts';

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript };
export type Shell = keyof typeof scripts;
export const shells = Object.keys(scripts) as readonly Shell[];

/** The script that makes a shell complete these commands. All words in it are the program's own, and need no quotes. */
export function scriptOf(shell: Shell, completions: readonly Completions[]): string {
  return scripts[shell](completions);
}

function bashScript(completions: readonly Completions[]): string {
  return `# Completion of millrace for bash, by \`millrace completion bash\`.
_millrace() {
  local program=$1 current=$2 previous=$3 line= word i values= files= IFS=$' \\t\\n'
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
${lineCase(completions)}
  done
${valuesCase(completions)}
  IFS=$'\\n'
  if [[ $files ]]; then
    COMPREPLY=($(compgen -f -- "$current"))
    compopt -o filenames 2>/dev/null
  else
    COMPREPLY=($(compgen -W "\${values// /$'\\n'}" -- "$current"))
  fi
}
complete -F _millrace millrace
`;
}

function zshScript(completions: readonly Completions[]): string {
  return `#compdef millrace
# Completion of millrace for zsh, by \`millrace completion zsh\`.
_millrace() {
  local program=$words[1] current=$words[CURRENT] previous=$words[CURRENT-1] line= word values= files=
  for word in "\${(@)words[2,CURRENT-1]}"; do
${lineCase(completions)}
  done
${valuesCase(completions)}
  if [[ -n $files ]]; then
    _files
  else
    compadd -- \${=values}
  fi
}
if [[ $funcstack[1] == _millrace ]]; then
  _millrace "$@"
else
  compdef _millrace millrace
fi
`;
}

/** For shells of the family of sh: which command is being typed, word by word. */
function lineCase(completions: readonly Completions[]): string {
  return `    case "$line $word" in
      ${commandLines(completions, '"').join(' | ')}) line="\${line:+$line }$word" ;;
    esac`;
}

function valuesCase(completions: readonly Completions[]): string {
  const options = optionGroups(completions, assignment).map(
    ([action, typed]) => `    ${typed.map((each) => `"${each}"`).join(' | ')}) ${action} ;;`,
  );
  const rest = completions.map(({ line, commands, options: own, argument }) => {
    const following = [
      commands.length > 0 ? `values="${commands.join(' ')}"` : '',
      argument ? assignment(argument) : '',
    ];
    const otherwise = following.filter((each) => each !== '').join('; ') || ':';
    return `        "${line}") if [[ $current == -* ]]; then values="${own.join(' ')}"; else ${otherwise}; fi ;;`;
  });
  return `  case "$line $previous" in
${options.join('\n')}
    *)
      case "$line" in
${rest.join('\n')}
      esac
      ;;
  esac`;
}

function assignment(values: Values): string {
  if (values.kind === 'words') return `values="${values.words.join(' ')}"`;
  return values.kind === 'files' ? 'files=1' : `values=$("$program" names ${values.kind} 2>/dev/null)`;
}

function fishScript(completions: readonly Completions[]): string {
  const options = optionGroups(completions, printing).map(
    ([action, typed]) => `    case ${typed.map((each) => `'${each}'`).join(' ')}\n      ${action}\n      return`,
  );
  const rest = completions.map(({ line, commands, options: own, argument }) => {
    const following = [`printf '%s\\n' ${[...commands, ...own].join(' ')}`, ...(argument ? [printing(argument)] : [])];
    return `    case '${line}'\n${following.map((each) => `      ${each}`).join('\n')}`;
  });
  return `# Completion of millrace for fish, by \`millrace completion fish\`.
function __millrace_complete
  set -l typed (commandline -opc)
  set -l program $typed[1]
  set -l line ''
  for word in $typed[2..-1]
    switch "$line $word"
      case ${commandLines(completions, "'").join(' ')}
        set line (string trim -- "$line $word")
    end
  end
  switch "$line $typed[-1]"
${options.join('\n')}
  end
  switch "$line"
${rest.join('\n')}
  end
end
complete -c millrace -f -a '(__millrace_complete)'
`;
}

function printing(values: Values): string {
  if (values.kind === 'words') return `printf '%s\\n' ${values.words.join(' ')}`;
  return values.kind === 'files'
    ? '__fish_complete_path (commandline -ct)'
    : `$program names ${values.kind} 2>/dev/null`;
}

/** Each command with those above it, quoted; `" serve"` has none. */
function commandLines(completions: readonly Completions[], quote: string): string[] {
  return completions
    .filter(({ line }) => line !== '')
    .map(({ line }) => `${quote}${line.includes(' ') ? line : ` ${line}`}${quote}`);
}

/** Options that take a value, each with its command, by what the shell does about it. */
function optionGroups(
  completions: readonly Completions[],
  actionOf: (values: Values) => string,
): [action: string, typed: string[]][] {
  const groups = new Map<string, string[]>();
  for (const { line, values } of completions) {
    for (const each of values) {
      const action = actionOf(each.values);
      const typed = each.options.map((option) => `${line} ${option}`);
      groups.set(action, [...(groups.get(action) ?? []), ...typed]);
    }
  }
  return [...groups];
}
