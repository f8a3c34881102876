import type { ErrorCode } from '../contracts/errors.ts';

interface Entry {
  /** What has usually led to it. */
  readonly cause: string;
  readonly remedy: string;
}

/** What whoever runs a gateway does about each error; docs/errors.md shows it. */
export const runbook: Readonly<Record<ErrorCode, Entry>> = {
  'request.invalid': {
    cause:
      'A header, a parameter or a body that is not what the route takes, or framing that could be read in two ways.',
    remedy: 'Mend the client: the message names the part. `GET /system/openapi.json` has what each route takes.',
  },
  'request.unauthorized': {
    cause:
      'No credentials, wrong ones, or a token that has expired. `millrace_auth_failures_total` counts them by reason.',
    remedy: 'Make a new token (`millrace token create`) or mend `gateway.auth`; a burst of these is somebody guessing.',
  },
  'request.forbidden': {
    cause: 'Good credentials without the scope, or a browser page of another origin.',
    remedy:
      'Give the token the scope of the route (routes.md) in that namespace, or call it from the gateway’s own page.',
  },
  'issuer.unavailable': {
    cause: 'The OpenID issuer does not answer, and its keys are older than an hour or lack the one of the token.',
    remedy:
      'Look whether `ISSUER/.well-known/openid-configuration` can be fetched from the gateway’s machine. Callers try again by themselves.',
  },
  'route.unknown': {
    cause: 'A path that is no route, or a method that it does not take.',
    remedy: 'Mend the client. A route of a connector is there while that connector runs: `millrace connectors`.',
  },
  'request.conflict': {
    cause: 'What was to be made is there already, somebody else keeps it, or it is not empty.',
    remedy:
      'The message says which. PUT replaces what POST refuses to make twice; functions of the YAML are changed there.',
  },
  'request.media-type': {
    cause: 'A body that does not say that it is JSON.',
    remedy: 'Send `Content-Type: application/json`.',
  },
  'function.missing': {
    cause:
      'A misspelt name, another namespace, a function that is `event-only`, or one that has not been deployed yet.',
    remedy:
      '`millrace functions` lists them. Queued work is tried again, and is a dead letter (`unroutable`) in the end: deploy the function, then replay.',
  },
  'deploy.disabled': {
    cause: 'No provider has `allowDeploy`, or it keeps no secrets (`secretsPath` of `process`).',
    remedy: 'Set it, and see first that `gateway.auth` says who may deploy.',
  },
  'namespace.missing': {
    cause: 'A name that was never made, or was removed.',
    remedy: 'Make it: `POST /system/namespace/`, or in the cluster.',
  },
  'secret.missing': {
    cause: 'A misspelt name, or another namespace.',
    remedy: '`millrace secrets` has the names.',
  },
  'function.not-ready': {
    cause: 'No replica came up before the deadline of the call, or every upstream is out.',
    remedy:
      '`millrace functions` has the state and its reason. Look at the start of the function (image, quota, probe), or give calls more time than a cold start takes.',
  },
  'function.crashed': {
    cause: 'Its thread or process ended: out of memory, an exit, a signal.',
    remedy:
      '`millrace logs NAME` has its last words. Raise `memory` if it was the heap; queued work is a dead letter (`crashed`) when its attempts are used up.',
  },
  'function.failed': {
    cause: 'The function threw.',
    remedy: '`millrace logs NAME --call ID`, or the errors of the dead letter. Mend the function, then replay.',
  },
  'function.timeout': {
    cause: 'It took longer than `invoke.timeout`, or than the caller’s `X-Timeout`.',
    remedy: 'See what it waits for. If it is right to take that long, raise the timeout or call it asynchronously.',
  },
  'function.unreachable': {
    cause: 'The connection to the function was refused, reset, or ended before an answer.',
    remedy:
      'Look whether its server listens where `url` says, and whether a network policy is between. It is in the log with the address.',
  },
  'function.bad-response': {
    cause: 'What came was no HTTP, too large, or broke off.',
    remedy: 'Look at the function’s server, and at what is between; `limits.body` bounds results that are kept.',
  },
  'invocation.cancelled': {
    cause: 'Somebody cancelled it.',
    remedy: 'Nothing. `DELETE /invocations/ID` and `DELETE /async-function/ID` do that.',
  },
  'invocation.client-gone': {
    cause: 'The caller closed the connection, often by a timeout of his own.',
    remedy: 'Compare the client’s timeout, and that of the load balancer, with `invoke.timeout`.',
  },
  'invocation.unknown': {
    cause: 'An id of another gateway or queue, or one that ended longer ago than its queue’s `tombstones`.',
    remedy: 'Ask sooner, or raise `tombstones`.',
  },
  'invocation.gone': {
    cause: 'It was too old to run (`X-Max-Age`), or its result was kept for as long as `invoke.result` says.',
    remedy:
      'What expired is a dead letter, and can be replayed. Raise `invoke.result.ttl` if results are fetched later.',
  },
  'invocation.unfinished': {
    cause: 'It waits or runs.',
    remedy:
      'Ask with `?wait=30s`. If it stays so: `millrace queues` shows what waits, and whether the function is paused.',
  },
  'invocation.finished': {
    cause: 'It was to be cancelled after its end.',
    remedy: 'Nothing: its state says what came of it.',
  },
  'invocation.loop': {
    cause: 'Functions that lead to one another by `onSuccess`, `onFailure`, callbacks or replies, without an end.',
    remedy:
      'Break the circle in the configuration. Only a chain that is meant to be deep needs more `gateway.limits.depth`.',
  },
  'limit.body': {
    cause: 'A body over `gateway.limits.body`, or `asyncBody` for what goes through a queue.',
    remedy:
      'Keep large content elsewhere and send its address, or raise the limit; memory is then needed for that many.',
  },
  'limit.waiting': {
    cause: 'More calls than the function’s `concurrency` and waiting room hold.',
    remedy:
      'More replicas or `concurrency`, or asynchronous calls. `millrace_waiting_calls` and `millrace_slot_wait_seconds` show for how long.',
  },
  'limit.in-flight': {
    cause:
      'More calls or bytes at once than `gateway.limits.inFlight`, or than a 32nd of the memory for bodies on their way into a queue.',
    remedy: 'More gateways, or more memory. Callers should wait as long as `Retry-After` says.',
  },
  'queue.full': {
    cause: '`limits` or `laneLimits` of the queue: more comes than is run.',
    remedy:
      '`millrace queues` shows whose lane it is. Give that function more `concurrency` or replicas, or find out why it has become slow. Nothing accepted is dropped.',
  },
  'queue.disk-full': {
    cause: 'Less is free on the disk of the queue than its `limits.freeDisk`.',
    remedy:
      'Make room; the queue goes on by itself, and meanwhile drains. `millrace dead-letters purge` frees what dead letters hold.',
  },
  'queue.unavailable': {
    cause: 'The broker of the queue is away, or it is starting.',
    remedy:
      '`millrace connections` says why. Calls that need no queue go on, and so does everything once the broker is back. At the start the gateway tries for a minute, then it ends.',
  },
  'queue.unknown': {
    cause: 'A misspelt name.',
    remedy: '`millrace queues` has the names.',
  },
  'queue.locked': {
    cause: 'Two gateways on one file.',
    remedy: 'Stop the other one, or give each a `path` of its own; several gateways share a queue on a broker.',
  },
  'queue.format': {
    cause: 'An older release was started on what a newer one wrote, or `path` is another file.',
    remedy: 'Start the newer release again, or bring back the backup from before the upgrade.',
  },
  'queue.damaged': {
    cause: 'The disk, or somebody who wrote to the file.',
    remedy:
      'Keep the file. Bring back a backup, or save what can be (`sqlite3 FILE .recover`), and look at the disk. The gateway never repairs by itself.',
  },
  'connector.unknown': {
    cause: 'A misspelt name, or a connector that failed at the start.',
    remedy: '`millrace connectors`, and `/readyz` for those that have failed.',
  },
  'message.expired': {
    cause: 'The message was older than `maxAge` of its connector when it came.',
    remedy:
      'It is a dead letter (`expired`): replay it if it is still wanted. Many of these: the consumer lags, see `lag` of `millrace connectors`.',
  },
  'message.unmapped': {
    cause: '`map`, or the expression of a key, failed on what the message holds.',
    remedy:
      'The dead letter has the message as it came. Mend the expression, add the message to `tests` and run `millrace test`, then replay.',
  },
  'dead-letter.unknown': {
    cause: 'It was replayed or deleted, or its time was over (`deadLetter.retention`).',
    remedy: '`millrace dead-letters list`. The invocation that a replay made has `replayOf`.',
  },
  'store.unavailable': {
    cause: 'The broker or the disk of the store is away.',
    remedy: '`/readyz` and `millrace connections`. Schedules and deployments wait for it.',
  },
  'connection.unavailable': {
    cause: 'The broker is away, or its address or network is wrong.',
    remedy:
      '`millrace check --connect` dials it and says what it met. At the start the gateway ends after `connectTimeout`; later it dials for ever.',
  },
  'provider.unavailable': {
    cause: 'The API server of the cluster is away, or refuses by its rules (RBAC).',
    remedy: 'The message has its words. Calls of functions go on; deployments work again once it is back.',
  },
  'callback.refused': {
    cause: 'The URL is of a private address, or of this machine.',
    remedy: 'If the receiver is meant to be there: `gateway.callbacks.allow`. Allow as little as will do.',
  },
  'gateway.overloaded': {
    cause:
      'The gateway’s own processor is at its end: what waited for more than `gateway.limits.http.turn` is refused unread.',
    remedy: 'More gateways; look for a function with `isolation: none` that blocks.',
  },
  'gateway.stopping': {
    cause: 'It was told to stop, and takes nothing new.',
    remedy: 'Nothing, behind a load balancer that knows (`gateway.shutdown.notice`); clients try again.',
  },
  'config.invalid': {
    cause: 'The configuration is wrong, or a broker is not as safe as it must be.',
    remedy:
      '`millrace check FILE --connect` has every problem with its line. A running gateway goes on with what it had.',
  },
  'plugin.failed': {
    cause: 'A plugin threw where nobody could catch it, or said that it cannot go on.',
    remedy:
      '`/readyz` has its name, the log its error. Everything else goes on; the plugin is back after a restart, or a reload that changes its settings.',
  },
  internal: {
    cause: 'A bug in Millrace.',
    remedy: 'The log has the stack, by the call id. Please report it; nothing that was accepted is lost by it.',
  },
};
