import { validateHeaderName, validateHeaderValue } from '../kit/http.ts';
import { z } from 'zod';
import { functionChallenge } from '../auth/authenticator.ts';
import { isWithin, reachOf } from '../auth/principal.ts';
import { namespaceOf } from '../kit/names.ts';
import { errorCodes, type ErrorCode, MillraceError } from '../contracts/errors.ts';
import { finalStates } from '../contracts/invocation.ts';
import type { AttemptError, MessageRecord, StoredResult } from '../contracts/queue.ts';
import { isId } from '../delivery/ids.ts';
import { endToEnd, headerOf } from '../kit/headers.ts';
import { asRefusal, errorBody } from './error-reply.ts';
import type { Reply } from './reply.ts';
import { type ApiRoute, route, type RouteContext } from './route.ts';
import { idParams, invocationView, refusals, waitText } from './schemas.ts';
import { bufferOf } from '../kit/body.ts';
import { isoTime } from '../kit/time.ts';

const tag = 'invocations';
const cancelled = z.object({
  id: z.string(),
  state: z.enum(['cancelled', 'running']),
  cancelling: z.boolean().optional(),
});
const waitQuery = z.strictObject({ wait: waitText });
const gone = 'it has outlived the time for which its end is kept';

function cancelRoute(path: string, summary: string): ApiRoute {
  return route({
    method: 'DELETE',
    path,
    auth: 'function',
    tag,
    summary,
    params: idParams,
    responses: {
      202: { description: 'It is cancelled, or being cancelled.', schema: cancelled },
      ...refusals('invocation.unknown', 'invocation.finished', 'invocation.gone'),
    },
    handle: async ({ params: { id } }, context) => {
      await knownRecord(id, context);
      const { invocations } = context.services;
      const result = await invocations.cancel(id);
      // Asked for twice, it is still what was asked for, also when it has ended meanwhile.
      const isCancelled = result === 'finished' && (await invocations.find(id))?.state === 'cancelled';
      if (result === 'cancelled' || isCancelled) {
        return context.reply.code(202).send({ id, state: 'cancelled' });
      }
      if (result === 'running') return context.reply.code(202).send({ id, state: 'running', cancelling: true });
      if (result === 'unknown') throw unknownInvocation();
      throw new MillraceError('invocation.finished', 'the invocation has already finished');
    },
  });
}

/**
 * State, result and end of one invocation. As public as calling the function is: an id holds 80 random bits, so whoever
 * knows one was given it (202, `Location`), and nobody finds another's by guessing. Where a call takes a token, so does
 * this; what connectors run, and what is not deployed any more, is for whoever could call or operate it.
 */
export const invocationRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/invocations/{id}',
    auth: 'function',
    tag,
    summary: 'What became of an invocation.',
    params: idParams,
    query: waitQuery,
    responses: {
      200: { description: 'Its state now, or when it has finished within `wait`.', schema: invocationView },
      ...refusals('request.invalid', 'invocation.unknown', 'invocation.gone'),
    },
    handle: async ({ params, query }, context) => viewOfRecord(await recordAfter(params.id, query.wait, context)),
  }),
  route({
    method: 'GET',
    path: '/invocations/{id}/result',
    auth: 'function',
    tag,
    summary: "The function's own answer: its status, headers and bytes.",
    params: idParams,
    query: waitQuery,
    responses: {
      200: { description: 'As the function gave it, whatever the status.', mediaType: '*/*' },
      ...refusals(
        'request.invalid',
        'invocation.unknown',
        'invocation.unfinished',
        'invocation.cancelled',
        'invocation.gone',
        'function.failed',
      ),
    },
    handle: async ({ params, query }, context) =>
      answerResult(context.reply, await recordAfter(params.id, query.wait, context)),
  }),
  cancelRoute('/invocations/{id}', 'Cancels an invocation: one that waits never runs, one that runs is aborted.'),
  // As OpenFaaS Pro has it. A call id that the gateway gave is the id of the invocation.
  cancelRoute('/async-function/{id}', 'Cancels an invocation by the `X-Call-Id` that the gateway gave it.'),
];

/** The record now, or when it is final if that comes first; throws when there is none or none any more. */
async function recordAfter(id: string, waitMs: number | undefined, context: RouteContext): Promise<MessageRecord> {
  const record = await knownRecord(id, context);
  if (waitMs === undefined || waitMs === 0 || finalStates.has(record.state)) return record;
  const finished = await context.services.invocations.finished(id, waitMs, context.gone());
  return finished ?? knownRecord(id, context);
}

async function knownRecord(id: string, context: RouteContext): Promise<MessageRecord> {
  const record = isId(id) ? await context.services.invocations.find(id) : undefined;
  if (!record) throw unknownInvocation();
  await admit(record, context);
  if (record.result === 'expired') throw new MillraceError('invocation.gone', gone);
  return record;
}

/** @throws MillraceError unless the caller may know of it. */
async function admit({ lane }: MessageRecord, { services: { callers }, request, reply }: RouteContext): Promise<void> {
  const auth = callers.functionAuth(lane);
  if (auth === 'public') return;
  const principal = await callers.principal(request.headers.authorization, `invocation of ${lane}`);
  if (principal && isWithin(reachOf(principal, ['invoke', 'operate']), namespaceOf(lane))) return;
  if (principal || auth === 'event-only') throw unknownInvocation();
  reply.header('www-authenticate', functionChallenge);
  throw new MillraceError('request.unauthorized', 'invalid credentials');
}

function unknownInvocation(): MillraceError {
  return new MillraceError('invocation.unknown', 'no invocation of that id is known');
}

export function viewOfRecord(record: MessageRecord): z.input<typeof invocationView> {
  const { id, lane, state, attempt, envelope, startedAt, finishedAt, dueAt, result, deadReason } = record;
  const errors = record.errors.map(viewOfError);
  const last = errors.at(-1);
  return {
    id,
    callId: envelope.callId,
    function: lane,
    state,
    attempt,
    acceptedAt: isoTime(envelope.acceptedAt),
    startedAt: startedAt === undefined ? null : isoTime(startedAt),
    finishedAt: finishedAt === undefined ? null : isoTime(finishedAt),
    ...(dueAt !== undefined && (state === 'delayed' || state === 'failed') && { nextAttemptAt: isoTime(dueAt) }),
    result: result === undefined || result === 'expired' ? null : { status: result.status, bytes: result.body.length },
    // What failed on the way to a success is history, not the outcome.
    error: state !== 'succeeded' && last ? last : null,
    ...(errors.length > 0 && { errors }),
    ...(deadReason !== undefined && { reason: deadReason }),
    ...(envelope.replayOf !== undefined && { replayOf: envelope.replayOf }),
  };
}

export function viewOfError({ attempt, at, code, message, status }: AttemptError): {
  attempt: number;
  at: string;
  code: string;
  message: string;
  status?: number;
} {
  return { attempt, at: isoTime(at), code, message, ...(status !== undefined && { status }) };
}

function answerResult(reply: Reply, record: MessageRecord): Reply {
  const { state, result, envelope } = record;
  reply.header('x-call-id', envelope.callId).header('x-invocation-id', record.id);
  if (result && result !== 'expired') return sendStored(reply, result, headerOf(envelope.headers, 'content-type'));
  if (!finalStates.has(state)) {
    throw new MillraceError('invocation.unfinished', `the invocation is ${state}; ask again, or with ?wait=30s`, {
      retryAfterSeconds: 1,
    });
  }
  if (state === 'cancelled') throw new MillraceError('invocation.cancelled', 'the invocation was cancelled');
  if (state === 'expired') throw new MillraceError('invocation.gone', 'the invocation expired before it could run');
  if (state === 'dead') return sendFailure(reply, record);
  throw new MillraceError('invocation.gone', 'it succeeded, and no result was kept (policy: result.store)');
}

/** As the HTTP connector answers a call: without a type of its own an answer has that of the request. */
function sendStored(reply: Reply, result: StoredResult, requestType: string | undefined): Reply {
  const { status, headers, body } = result;
  const sent: Record<string, string | string[]> = { 'content-type': requestType ?? 'text/plain; charset=utf-8' };
  try {
    if (status < 200 || status > 999) throw new RangeError(`status ${status} is not a final one`);
    for (const [name, value] of Object.entries(endToEnd(headers))) {
      validateHeaderName(name);
      for (const text of [value].flat()) validateHeaderValue(name, text);
      sent[name] = typeof value === 'string' ? value : [...value];
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown';
    throw new MillraceError('function.bad-response', `the function's answer cannot be sent: ${reason}`);
  }
  const bytes = bufferOf(body);
  for (const [name, value] of Object.entries(sent)) reply.header(name, value);
  return reply.code(status).send(status === 204 || status === 304 ? undefined : bytes);
}

/** A dead letter without an answer of the function's own: what went wrong last, always as a server's error. */
function sendFailure(reply: Reply, { errors, deadReason }: MessageRecord): Reply {
  const last = errors.at(-1);
  const code: ErrorCode = last && Object.hasOwn(errorCodes, last.code) ? (last.code as ErrorCode) : 'function.failed';
  const status = [last?.status, errorCodes[code].status].find(
    (candidate) => candidate !== undefined && candidate >= 500,
  );
  const message = last?.message ?? `the invocation is a dead letter (${deadReason ?? 'unknown'})`;
  return asRefusal(reply)
    .code(status ?? 500)
    .send(errorBody(code, message));
}
