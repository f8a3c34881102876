import { functionChallenge } from '../auth/authenticator.ts';
import { isWithin, reachOf } from '../auth/principal.ts';
import { namespaceOf } from '../kit/names.ts';
import type { Delivery } from '../contracts/delivery.ts';
import { MillraceError } from '../contracts/errors.ts';
import type { FunctionAuth } from '../contracts/policy.ts';
import { failed } from '../kit/outcome.ts';
import { notDeployed, refuse, type PipelineServices } from './stage.ts';

/**
 * Whether somebody calls, who may be anybody. What a queue hands out was looked at when it was accepted; what connectors
 * of messages bring, and what a source can take back, is for the function that the configuration names.
 */
export function isCall({ request, message, settlement }: Delivery): boolean {
  return !request.lease && !request.isEvent && message === undefined && settlement.kind === 'replies';
}

/**
 * Lets in a call of a function that is not public, or refuses it. The credentials were the gateway's, so the function
 * does not get them.
 */
export async function admit(
  delivery: Delivery,
  name: string,
  auth: Exclude<FunctionAuth, 'public'>,
  { authenticator }: PipelineServices,
): Promise<boolean> {
  if (auth === 'event-only') {
    refuse(delivery, 'missing', notDeployed(name));
    return false;
  }
  try {
    const { headers } = delivery.request;
    const { authorization } = headers;
    // With nothing to ask for, nobody could show that he may.
    const principal = authenticator.isOff
      ? undefined
      : await authenticator.principal(typeof authorization === 'string' ? authorization : undefined, name);
    if (!principal) {
      refuseIn(delivery, 'request.unauthorized', 'invalid credentials', { 'www-authenticate': functionChallenge });
      return false;
    }
    const reach = reachOf(principal, ['invoke']);
    if (isWithin(reach, namespaceOf(name))) {
      delete headers['authorization'];
      return true;
    }
    authenticator.forbidden(principal, name);
    if (reach !== 'all' && reach.size === 0) refuseIn(delivery, 'request.forbidden', 'insufficient permissions');
    else refuse(delivery, 'missing', notDeployed(name)); // As everywhere: what is in other namespaces is not there.
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    refuse(delivery, 'refused', error);
  }
  return false;
}

/** In the words that OpenFaaS clients look for, which are no JSON. */
function refuseIn(
  delivery: Delivery,
  code: 'request.unauthorized' | 'request.forbidden',
  message: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  delivery.decision ??= 'refused';
  delivery.outcome = {
    ...failed('refused', { code, message }, 0),
    headers: { 'content-type': 'text/plain; charset=utf-8', ...headers },
    body: message,
  };
}
