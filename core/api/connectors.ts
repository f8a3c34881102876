import { z } from 'zod';
import type { Triggered } from '../contracts/connector.ts';
import { type ApiRoute, route } from './route.ts';
import { dnsLabel } from '../config/units.ts';
import { isoTime } from '../kit/time.ts';
import { connectorView, refusals } from './schemas.ts';

const tag = 'connectors';
const params = z.strictObject({ name: dnsLabel });
const time = z.iso.datetime({ offset: true });
const triggeredView = z.object({ id: z.string(), duplicate: z.boolean(), at: z.iso.datetime() });
const responses = {
  202: { description: 'The invocations, all of them durable.', schema: z.array(triggeredView) },
  ...refusals('request.invalid', 'connector.unknown', 'request.conflict', 'queue.full', 'queue.unavailable'),
};

export const connectorRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/connectors',
    auth: 'operate',
    tag,
    summary: 'The sources of work and how they fare.',
    responses: { 200: { description: 'One row a connector.', schema: z.array(connectorView) } },
    handle: (_input, { services }) => services.connectors(),
  }),
  route({
    method: 'POST',
    path: '/system/connectors/{name}/trigger',
    auth: 'operate',
    tag,
    summary: 'Fires a cron connector now, whatever its schedule says.',
    params,
    responses,
    handle: async ({ params: { name } }, { services, reply }) =>
      reply.code(202).send(viewOf(await services.trigger(name))),
  }),
  route({
    method: 'POST',
    path: '/system/connectors/{name}/backfill',
    auth: 'operate',
    tag,
    summary: 'Fires a cron connector for each of its slots in a time that has passed.',
    description:
      'A slot that has fired is not run again while its queue remembers it, so that the same may be asked again. ' +
      'At most 10,000 slots.',
    params,
    body: z
      .strictObject({ from: time, to: time })
      .refine(({ from, to }) => Date.parse(from) <= Date.parse(to), '`from` must not be after `to`'),
    responses,
    handle: async ({ params: { name }, body: { from, to } }, { services, reply }) =>
      reply.code(202).send(viewOf(await services.trigger(name, { from: Date.parse(from), to: Date.parse(to) }))),
  }),
];

function viewOf(triggered: readonly Triggered[]): z.input<typeof triggeredView>[] {
  return triggered.map(({ id, duplicate, at }) => ({ id, duplicate, at: isoTime(at) }));
}
