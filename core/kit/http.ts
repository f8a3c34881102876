/**
 * Node's HTTP. An import of `node:http` reads each of its exports, and some of them load the undici within Node (for `fetch`
 * and WebSocket): 80 ms of each start.
 */
export const { Agent, createServer, get, request, STATUS_CODES, validateHeaderName, validateHeaderValue } =
  process.getBuiltinModule('node:http');
