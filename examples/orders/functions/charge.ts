import type { Handler } from '../../../plugins/providers/worker/api.ts';

interface Order {
  readonly id: string;
  readonly customer: string;
  readonly card: string;
  /** Cents. */
  readonly total: number;
}

/**
 * Charges the card of an order. 200 says whether it was charged; 422 that no attempt will ever do it; 503 that another one
 * may.
 */
export default (async (event, { env, signal }) => {
  const order = orderOf(event.text());
  if (typeof order === 'string') return { status: 422, body: order };
  const { id, customer, card, total } = order;
  const answer = await fetch(`${env['PAYMENTS_URL']}/charges`, {
    method: 'POST',
    // The order's own id, so that it is charged once however often it comes: a second attempt, or twice from the shop.
    headers: { 'content-type': 'application/json', 'idempotency-key': id },
    body: JSON.stringify({ customer, card, total }),
    signal,
  });
  const told = await answer.text();
  if (answer.ok) return { id, customer, charged: true };
  // An answer, and not a failure: nobody has to look at it.
  if (answer.status === 402) return { id, customer, charged: false, why: told };
  return { status: 503, body: `the payment service answered ${answer.status}: ${told}` };
}) satisfies Handler;

/** The order, or what is wrong with it. */
function orderOf(text: string): Order | string {
  let order: Partial<Record<keyof Order, unknown>> | null;
  try {
    order = JSON.parse(text) as typeof order;
  } catch {
    return 'the order is no JSON';
  }
  for (const key of ['id', 'customer', 'card'] as const)
    if (typeof order?.[key] !== 'string' || order[key] === '') return `the order has no ${key}`;
  const total = order?.total;
  if (!Number.isSafeInteger(total) || Number(total) <= 0)
    return `the total of an order is a whole number of cents above 0, got ${JSON.stringify(total)}`;
  return order as Order;
}
