import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { apiRoutes } from '../../core/api/management.ts';
import { saw, seed, times } from '../support/promise.ts';
import { eventually } from '../support/gateway.ts';
import { markOf, nobodys, operations, otherOf, type Space, type Target, type Tenant, World } from './tenants-model.ts';

/**
 * What one tenant does is never seen by the other and changes nothing of his, whatever it is and whoever it names: Fission
 * CVE-2026-49821, -49822, -49823, -49824, Traefik CVE-2026-41174, -65601, -71325, -71327, Nuclio CVE-2026-45730.
 */

interface Command {
  readonly actor: Tenant;
  /** Whose things it names. */
  readonly whose: 'own' | 'other';
  readonly key: string;
  readonly pick: number;
}

const keys = Object.keys(operations);

/** Without what the question itself named. */
function withoutNames(text: string, { lane, space, invocation, letter }: Target): string {
  return [lane, `first.${space}`, invocation, letter, markOf(space)]
    .reduce((rest, name) => rest.replaceAll(name, 'NAME'), text)
    .replaceAll(new RegExp(`namespace ${space}\\b`, 'g'), 'namespace NAME');
}

/** Numbers of what a list leaves out would tell as well: the answers about another's things are those about nothing. */
async function compare(world: World, { actor, key, pick }: Command, target: Target): Promise<void> {
  const ask = async (about: Target): Promise<string> => {
    const { status, text } = await world.send(actor, key, operations[key]?.(about) ?? expect.unreachable());
    return `${status} ${withoutNames(text, about).replaceAll(/"(oldestAgeSeconds|rps)":[\d.]+/g, '')}`;
  };
  expect(await ask(target), key).toBe(await ask(await world.target('c', pick)));
}

/** Whether a tenant may get that answer about his own: done; not there, there already or ended; a function's own failure. */
function isExpected(key: string, status: number): boolean {
  if ([200, 201, 202, 400, 404, 409].includes(status)) return true;
  return status === 500 && /^POST \/function|result$/.test(key);
}

/** What belongs to no namespace is for those who see all of them. */
const nobodyElses = new Set(['GET /system/connections', 'GET /system/connectors']);

/** Counts the commands that did what they are for. */
async function run(world: World, commands: readonly Command[]): Promise<number> {
  let done = 0;
  const views: Record<Tenant, string> = { a: await world.view('a'), b: await world.view('b') };
  for (const command of commands) {
    const { actor, whose, key, pick } = command;
    const other = otherOf(actor);
    const space: Space = whose === 'own' ? actor : other;
    const target = await world.target(space, pick);
    const asked = operations[key]?.(target) ?? expect.unreachable();
    const { status, text } = await world.send(actor, key, asked);
    const place = `${actor}: ${key} ${JSON.stringify(asked)} → ${status}`;
    const shown = whose === 'own' ? text : withoutNames(text, target);
    for (const mark of [markOf(other), `"${other}"`, `.${other}"`])
      expect(shown.includes(mark), `${place}: ${text.slice(0, 300)}`).toBe(false);
    if (nobodyElses.has(key)) expect([status, text], place).toEqual([200, '[]']);
    expect(await world.view(other), place).toBe(views[other]);
    views[actor] = await world.view(actor);
    if (whose === 'other') await compare(world, command, target);
    else expect(isExpected(key, status), place).toBe(true);
    if (whose === 'own' && status < 300) done++;
  }
  return done;
}

const command = fc.record({
  actor: fc.constantFrom<Tenant>('a', 'b'),
  whose: fc.constantFrom<Command['whose']>('own', 'other'),
  key: fc.constantFrom(...keys),
  pick: fc.nat(11),
});

describe('two tenants', () => {
  it('have every route of the table in their model', () => {
    const routes = apiRoutes.map(({ method, path }) => `${method} ${path}`);
    const modelled = keys.filter((key) => !/^POST \/(async-)?function\//.test(key));
    expect([...modelled, ...nobodys].toSorted()).toEqual(routes.toSorted());
  });

  it('never read or change what is the other’s, whatever they do (P19)', { timeout: 1_800_000 }, async ({ task }) => {
    let commands = 0;
    let done = 0;
    const property = fc.asyncProperty(fc.array(command, { maxLength: 50, size: 'max' }), async (drawn) => {
      await using world = await World.start();
      done += await run(world, drawn);
      commands += drawn.length;
      await expectEvents(world);
    });
    await fc.assert(property, { seed, numRuns: times(12, 200) });
    saw(task, { seed, result: `${commands} commands of two tenants, ${done} of them took effect, 0 crossings` });
    expect(done).toBeGreaterThan(commands / 8);
  });
});

/** Each was told of his own, and of nothing else. */
async function expectEvents({ events, figures, invocations }: World): Promise<void> {
  for (const tenant of ['a', 'b'] as const) {
    const other = otherOf(tenant);
    for (const told of [events[tenant], figures[tenant]]) {
      await eventually(() => (told.text.includes(`.${tenant}"`) ? true : undefined));
      expect(told.text).not.toContain(`.${other}"`);
      for (const id of invocations[other]) expect(told.text).not.toContain(id);
    }
  }
}

/** What tells nothing of anybody, so that nobody could tell whether it was checked. */
const mute = new Set([
  'POST /system/connectors/{name}/backfill',
  'POST /system/connectors/{name}/trigger',
  'GET /system/connections',
]);

describe('the model', () => {
  it('notices each route that forgets to look at the namespace', { timeout: 300_000 }, async () => {
    const missed: string[] = [];
    const telling = keys.filter((key) => !mute.has(key));
    // Each of them is one gateway; in CI others every time.
    const first = seed % telling.length;
    for (const key of [...telling, ...telling].slice(first, first + times(10, telling.length))) {
      await using world = await World.start();
      world.plant = key;
      const picks = [0, 1, 2, 3].map((pick) => ({ actor: 'a', whose: 'other', key, pick }) as const);
      const caught = await run(world, picks).then(
        () => false,
        () => true,
      );
      if (!caught) missed.push(key);
    }
    expect(missed, `seed ${seed}`).toEqual([]);
  });
});
