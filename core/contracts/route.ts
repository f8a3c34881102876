import type { IncomingMessage, ServerResponse } from 'node:http';

/**
 * What somebody may do. `invoke`: call functions that ask for a token, and read what became of such calls. `deploy`:
 * functions, their secrets, namespaces and scale. `operate`: look at everything else, and queues, dead letters,
 * connectors.
 */
export const scopes = ['invoke', 'deploy', 'operate'] as const;
export type Scope = (typeof scopes)[number];

/**
 * Who may use a route. A scope, or one of several: whoever has it in some namespace, and sees that one only. `function`:
 * the function that the request is about says it, which whoever answers looks at. `public`: whoever reaches the listener.
 */
export type RouteAuth = 'public' | 'function' | Scope | readonly Scope[];

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS' | 'HEAD';

/** By the names in the path, decoded; `*` is what a path that ends with it has there. */
export type PathParameters = Readonly<Record<string, string>>;

/** A route of the public listener. */
export interface Route {
  readonly methods: readonly Method[];
  /** `/orders/:id`, `/function/*`. */
  readonly path: string;
  /** Every route says it; one that does not cannot be added. */
  readonly auth: RouteAuth;
  /**
   * Answers, once it is known that the caller may use the route. The body is for whoever answers to read. What is thrown
   * is told to the caller: a MillraceError as it is, anything else as an error of the gateway's, which is logged.
   */
  handle(request: IncomingMessage, response: ServerResponse, parameters: PathParameters): void | Promise<void>;
}

/** The routes of one connector. */
export interface Routes {
  /** Answered once the connector has started; later there is no adding. Throws where it has one for the same requests. */
  add(route: Route): void;
}
