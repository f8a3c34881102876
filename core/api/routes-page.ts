import { isScoped } from './route-auth.ts';
import type { ApiRoute } from './route.ts';

/** docs/routes.md: who may use what, from the table that is enforced. */
export function routesPage(routes: readonly ApiRoute[]): string {
  const rows = routes.map(({ method, path, auth, summary }) => {
    const words = isScoped(auth) ? [auth].flat() : [auth];
    return `| \`${method} ${path}\` | ${words.map((word) => `\`${word}\``).join(' or ')} | ${summary} |`;
  });
  return `<!-- Made from the code by \`npm run generate\`. Change the descriptions there. -->

# Routes of the API

What each asks of its caller: a scope ([auth.md](auth.md)), in whose namespaces it then works; \`function\`: what the function
that it is about asks; \`public\`: nothing. \`GET /system/openapi.json\` has their inputs and answers.

| route | for | |
|---|---|---|
${rows.join('\n')}
`;
}
