import type { Command } from 'commander';
import { createToken, digestOf } from '../auth/token.ts';
import { acting } from './command.ts';
import { printJson } from './output.ts';

export function registerToken(program: Command): void {
  const create = program
    .command('token')
    .description('API tokens')
    .command('create')
    .description('make a token, and what the configuration says of it')
    .option('--json', 'print JSON only');
  acting(create, ({ json }: { json?: boolean }) => {
    const token = createToken();
    const hash = `sha256:${digestOf(token)}`;
    if (json) printJson({ token, hash });
    else console.log(instructions(token, hash));
  });
}

function instructions(token: string, hash: string): string {
  return `
  token   ${token}
  hash    ${hash}

Give the token to whoever is to use it: nobody can find it again. The configuration needs its hash only:

  gateway:
    auth:
      tokens:
        - { name: NAME, scopes: [invoke], namespaces: [NAMESPACE], hash: "${hash}" }
`;
}
