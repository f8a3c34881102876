import { expect, it } from 'vitest';
import { createToken, digestOf } from '../../core/auth/token.ts';
import { Delivery, type DeliveryRequest, type Settlement } from '../../core/contracts/delivery.ts';
import { admit, isCall } from '../../core/pipeline/admit.ts';
import type { PipelineServices } from '../../core/pipeline/stage.ts';
import { testAuthenticator } from '../support/authenticator.ts';

const token = createToken();
const tokens = [{ name: 'all', digest: digestOf(token), scopes: ['invoke'], namespaces: ['*'] }] as const;

function deliveryOf(request: Partial<DeliveryRequest>, kind: Settlement['kind'] = 'replies'): Delivery {
  const whole = { function: 'f', method: 'POST', path: '', query: '', headers: {}, body: null, ...request };
  return new Delivery('source', whole, { kind, settle: () => undefined });
}

async function statusOf(auth: 'none' | { tokens: typeof tokens }, headers: Record<string, string>): Promise<number> {
  const delivery = deliveryOf({ headers });
  const services = { authenticator: testAuthenticator(auth) } as PipelineServices;
  const isAdmitted = await admit(delivery, 'f.a', 'token', services);
  return isAdmitted ? 200 : (delivery.outcome?.status ?? 0);
}

it('a function that takes a token is not open where the gateway asks nobody who he is', async () => {
  expect(await statusOf({ tokens }, { authorization: `Bearer ${token}` })).toBe(200);
  for (const headers of [{}, { authorization: `Bearer ${token}` }]) expect(await statusOf('none', headers)).toBe(401);
});

it('whoever waits for an answer calls, unless the source has made sure of who sent it', () => {
  expect(isCall(deliveryOf({}))).toBe(true);
  expect(isCall(deliveryOf({ isEvent: false }))).toBe(true);
  expect(isCall(deliveryOf({ isEvent: true }))).toBe(false);
  // What a source can take back is its own: it chose the function.
  expect(isCall(deliveryOf({}, 'settles'))).toBe(false);
});
