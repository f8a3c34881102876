import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { startApi } from '../api/api-server.ts';
import type { Page } from 'playwright-core';
import { barriersOf, describeWithBrowser, picture } from '../support/browser.ts';
import { eventually, testGateway } from '../support/gateway.ts';
import { holds } from '../support/plugins/inline.ts';
import { times } from '../support/promise.ts';
import { ConsoleWorld, go, hostile, password, rightToken, wrongToken } from './console-world.ts';

/** Of a phone and of a screen, by day and by night. */
const looks = [
  [390, 'light'],
  [1280, 'dark'],
  [390, 'dark'],
  [1280, 'light'],
] as const;

await describeWithBrowser('the console in Chromium', (browser) => {
  let world: ConsoleWorld;
  beforeAll(async () => {
    world = await ConsoleWorld.start();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const cleanups: (() => unknown)[] = [];
  afterEach(async () => {
    for (const hold of holds.splice(0)) hold.release();
    for (const cleanup of cleanups.splice(0)) await cleanup();
  });

  const rowOf = (page: Page, name: string) => page.locator('tbody tr', { hasText: name });
  const field = (page: Page, label: string) => page.getByLabel(label, { exact: true });
  const choice = (page: Page, name: string) => page.getByRole('combobox', { name, exact: true });
  const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click();

  it('asks who it is, keeps that in the tab alone, and forgets it', async () => {
    await using visit = await world.visit(browser());
    const { page, problems } = visit;
    const dialog = page.getByRole('dialog', { name: 'Sign in' });
    await field(page, 'Token').fill(wrongToken);
    await press(page, 'Sign in');
    await dialog.getByRole('alert').filter({ hasText: 'does not know these credentials' }).waitFor();
    expect(await page.locator('tbody tr').count()).toBe(0);
    await page.keyboard.press('Escape'); // There is nothing behind it.
    expect(await dialog.isVisible()).toBe(true);
    await field(page, 'Token').fill('');
    await field(page, 'User').fill('admin');
    await field(page, 'Password').fill(password);
    await press(page, 'Sign in');
    await rowOf(page, 'echo.openfaas-fn').waitFor();
    await page.reload();
    await rowOf(page, 'echo.openfaas-fn').waitFor();
    expect(await page.evaluate('JSON.stringify([document.cookie, { ...localStorage }])')).toBe('["",{}]');
    await press(page, 'Sign out');
    await dialog.waitFor();
    await field(page, 'Token').fill(rightToken);
    await page.keyboard.press('Enter');
    await rowOf(page, 'echo.openfaas-fn').waitFor();
    expect(problems).toEqual([]);
  });

  it('shows functions as they come, are called, fail and go', async () => {
    await using open = await world.open(browser(), 'functions');
    const { page, problems } = open;
    await world.deploy('comes');
    await rowOf(page, 'comes.openfaas-fn').getByText('ready').waitFor();
    for (let call = 0; call < 5; call++) await world.send('POST', '/function/echo', 'x');
    await expect(world.send('POST', '/function/fails', 'x')).rejects.toThrow('500');
    const cells = (name: string): Promise<string[]> => rowOf(page, name).locator('th, td').allTextContents();
    await eventually(async () => {
      const [, , , , rate = '', mean = '', , errors] = await cells('echo.openfaas-fn');
      return (Number(rate) > 0 && /^[\d.]+ [mµ]?s$/.test(mean) && errors === '0 %') || undefined;
    });
    await eventually(async () => (await cells('fails.openfaas-fn'))[7] === '100 %' || undefined);
    await field(page, 'Name contains').fill('ech');
    expect(await page.locator('tbody tr').count()).toBe(1);
    await page.getByRole('link', { name: 'invoke of echo.openfaas-fn' }).click();
    expect(await field(page, 'Function').inputValue()).toBe('echo.openfaas-fn');
    expect(problems).toEqual([]);
  });

  it('invokes, shows an answer while it comes, and leads to what was accepted', async () => {
    await using open = await world.open(browser(), 'invoke?function=show');
    const { page, problems } = open;
    const body = page.getByLabel('Body of the answer');
    await field(page, 'Path and query').fill('/orders?a=1');
    await field(page, 'Headers, one a line').fill('X-Kind: of mine');
    await field(page, 'Body').fill(hostile);
    await press(page, 'Invoke');
    await page.getByText(/^Status 200, whole after/).waitFor();
    const shown = JSON.parse((await body.textContent()) ?? '') as Record<string, unknown>;
    expect(shown).toMatchObject({ method: 'POST', path: '/orders', query: '?a=1', headers: { 'x-kind': 'of mine' } });
    // A public function is not shown who asks.
    expect(shown['headers']).not.toHaveProperty('authorization');

    await field(page, 'Function').fill('streams');
    await press(page, 'Invoke');
    await body.filter({ hasText: /^the first piece$/ }).waitFor();
    await page.getByText('the answer is coming').waitFor();
    world.streaming.shift()?.();
    await body.filter({ hasText: 'the first piece, the last piece' }).waitFor();
    await press(page, 'Invoke');
    await body.filter({ hasText: /^the first piece$/ }).waitFor();
    await press(page, 'Stop');
    await page.getByText(/^Stopped after/).waitFor();

    await field(page, 'Function').fill('fails');
    await choice(page, 'How').selectOption('async-function');
    await field(page, 'Path and query').fill('');
    await press(page, 'Invoke');
    await page.getByText('Accepted:').getByRole('link').click();
    await page.locator('strong', { hasText: 'dead' }).waitFor();
    const steps = await page.locator('.timeline li').allTextContents();
    expect(steps.map((step) => step.replace(/^[-\d:. ]+/, ''))).toEqual([
      'accepted',
      expect.stringMatching(/^attempt 1 failed: .*status 500$/),
      'attempt 2 begun',
      expect.stringMatching(/^attempt 2 failed: .*status 500$/),
      'dead',
    ]);
    await page.getByText('Status 500,').waitFor();
    expect(problems).toEqual([]);
  });

  it('finds invocations by function, state and id, and cancels one that waits', async () => {
    await using open = await world.open(browser(), 'invocations');
    const { page, problems } = open;
    const { id } = await world.send('POST', '/async-function/echo', 'found');
    await rowOf(page, id).getByText('succeeded').waitFor(); // By itself.
    await field(page, 'Function').fill('held');
    await press(page, 'Search');
    await page.getByText('None was found.').waitFor();
    const { id: held } = await world.send('POST', '/async-function/held', 'one');
    await rowOf(page, held).getByText('running').waitFor();
    const { id: waiting } = await world.send('POST', '/async-function/held', 'two');
    await choice(page, 'State').selectOption('queued');
    await press(page, 'Search');
    await rowOf(page, waiting).waitFor();
    expect(await page.locator('tbody tr').count()).toBe(1);
    await field(page, 'Id').fill(waiting);
    await press(page, 'Search');
    await press(page, 'Cancel');
    await page.locator('strong', { hasText: 'cancelled' }).waitFor();
    const hold = await eventually(() => holds.pop());
    hold.release();
    await go(page, world.url, `invocations/${held}`);
    await page.locator('strong', { hasText: 'succeeded' }).waitFor();
    await go(page, world.url, 'invocations/01ARZ3NDEKTSV4RRFFQ69G5FAV');
    await page.getByRole('alert').filter({ hasText: 'invocation.unknown' }).waitFor();
    expect(problems).toEqual([]);
  });

  it('shows what waits at each level while it does, and pauses', async () => {
    await using open = await world.open(browser(), 'queues');
    const { page, problems } = open;
    for (let index = 0; index < 3; index++) await world.send('POST', '/async-function/held', 'x');
    const calling = world.send('POST', '/function/held', 'x');
    const lane = page
      .getByRole('region', { name: 'In the queues of functions' })
      .locator('tr', { hasText: 'held.openfaas-fn' });
    await lane.waitFor();
    await eventually(async () => (await lane.locator('td').nth(4).textContent()) === '1' || undefined);
    const room = page.getByRole('region', { name: 'In the gateway' }).locator('tr', { hasText: 'held.openfaas-fn' });
    await room.waitFor();
    await lane.getByRole('button', { name: 'Chart held' }).click();
    await page.getByText('The last five minutes of held.openfaas-fn').waitFor();
    const chart = page.getByRole('img', { name: /^In flight in the last five minutes: 1 now/ });
    await chart.first().waitFor();
    await lane.getByRole('button', { name: 'Pause held' }).click();
    await lane.getByText('paused').waitFor();
    (await eventually(() => holds.pop())).release();
    await lane.getByRole('button', { name: 'Resume held' }).click();
    await lane.getByText('open').waitFor();
    for (let left = 3; left > 0; left--) (await eventually(() => holds.pop())).release();
    await calling;
    await eventually(async () => (await lane.locator('td').nth(4).textContent()) === '0' || undefined);
    expect(problems).toEqual([]);
  });

  it('reads a dead letter, and replays it with another body to another function', async () => {
    const { id } = await world.send('POST', '/async-function/fails?a=1', hostile);
    await using open = await world.open(browser(), 'dead-letters');
    const { page, problems } = open;
    await rowOf(page, id).waitFor();
    await rowOf(page, id).getByRole('link').click();
    await page.locator('pre', { hasText: hostile }).waitFor();
    expect(await page.locator('.timeline li').count()).toBe(4);
    await field(page, 'To another function').fill('show');
    await field(page, 'Headers to set, one a line; one without a value is taken off').fill(
      'X-Mended: yes\nContent-Type:',
    );
    await field(page, 'Body').fill('mended');
    await press(page, 'Replay');
    await page.locator('strong', { hasText: 'succeeded' }).waitFor();
    const result = JSON.parse((await page.locator('pre').first().textContent()) ?? '') as Record<string, unknown>;
    expect(result).toMatchObject({ body: 'mended', headers: { 'x-mended': 'yes' } });
    expect(result['headers']).not.toHaveProperty('content-type');
    await page.getByRole('link', { name: id }).waitFor(); // `Replay of`
    expect(problems).toEqual([]);
  });

  it('replays many, and purges only what was agreed to', async () => {
    for (let index = 0; index < 5; index++) await world.send('POST', '/async-function/fails', `many ${index}`);
    const count = async (): Promise<number> =>
      (
        JSON.parse((await world.send('GET', '/system/dead-letters?function=fails&limit=500')).text) as {
          items: unknown[];
        }
      ).items.length;
    await eventually(async () => (await count()) >= 5 || undefined);
    const before = await count();
    await using open = await world.open(browser(), 'dead-letters?function=fails');
    const { page, problems } = open;
    await page
      .locator('tbody tr')
      .nth(before - 1)
      .waitFor();
    await press(page, 'Replay all of these');
    await page.getByRole('dialog').getByRole('button', { name: 'Replay' }).click();
    await page.getByText(`${before} of ${before} replayed`).waitFor();
    // They fail again, as they did before.
    await eventually(async () => (await count()) === before || undefined);
    await press(page, 'Purge all of these');
    await page.getByRole('dialog').getByText('of fails is deleted').waitFor();
    await page.keyboard.press('Escape');
    expect(await count()).toBe(before);
    await press(page, 'Purge all of these');
    await page.getByRole('dialog').getByRole('button', { name: 'Purge' }).click();
    await page.getByText(`${before} purged.`).waitFor();
    await page.getByText('There are none.').waitFor();
    expect(await count()).toBe(0);
    expect(problems).toEqual([]);
  });

  it('follows what a function writes', async () => {
    await world.deploy('writes');
    await using open = await world.open(browser(), 'logs?function=writes');
    const { page, problems } = open;
    await page.getByText('Following writes').waitFor();
    const lines = page.getByRole('log').locator('> div');
    await world.send('POST', '/function/writes', `${hostile}\nsecond`);
    await lines.nth(1).waitFor();
    const texts = (await lines.allTextContents()).map((line) => line.replace(/^.*? stderr: /, ''));
    expect(texts.slice(0, 2)).toEqual([hostile, 'second']); // Then the watchdog's own.
    await field(page, 'Text contains').fill('SECOND');
    expect(await lines.locator('visible=true').count()).toBe(1);
    await press(page, 'Stop');
    await page.getByText('Stopped').waitFor();
    expect(problems).toEqual([]);
  });

  it('shows the configuration without its secrets, and what the lint says of it', async () => {
    await using open = await world.open(browser(), 'configuration');
    const { page, problems } = open;
    await page.getByRole('region', { name: 'What the lint says' }).getByText('secret-in-file').first().waitFor();
    await page.locator('summary', { hasText: 'gateway' }).click();
    await page.locator('pre', { hasText: '[redacted]' }).waitFor();
    const text = (await page.locator('main').textContent()) ?? '';
    for (const secret of [password, rightToken]) expect(text).not.toContain(secret);
    expect(problems).toEqual([]);
  });

  it('runs nothing of what functions, messages and logs say', async () => {
    const { id } = await world.send('POST', '/async-function/fails', hostile);
    await using open = await world.open(browser(), `invocations/${id}`);
    const { page, problems } = open;
    await page.locator('strong', { hasText: 'dead' }).waitFor();
    await go(page, world.url, `dead-letters/${id}`);
    await page.locator('pre', { hasText: hostile }).waitFor();
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(await page.evaluate('window.hacked')).toBeUndefined();
    expect(problems).toEqual([]);
    // A page that made HTML of text could not: the browser refuses.
    await expect(
      page.evaluate(`document.querySelector('main').innerHTML = ${JSON.stringify(hostile)}`),
    ).rejects.toThrow('TrustedHTML');
    await page.evaluate(`{
      const image = document.createElement('img');
      image.setAttribute('src', 'x');
      try { image.setAttribute('onerror', 'window.hacked = 1'); } catch {}
      document.body.append(image);
    }`);
    await eventually(() => problems.length > 0 || undefined);
    expect(await page.evaluate('window.hacked')).toBeUndefined();
  });

  it('is used by keyboard', async () => {
    await using open = await world.open(browser(), 'dead-letters');
    const { page, problems } = open;
    const focused = (): Promise<string> => page.evaluate('document.activeElement.textContent.trim()');
    await page.reload();
    await page.locator('h1').waitFor();
    expect(await focused()).toBe('Dead letters');
    await page.evaluate('document.activeElement.blur()');
    await page.keyboard.press('Tab');
    const walked: string[] = [];
    for (let step = 0; step < 30; step++) {
      walked.push(await focused());
      await page.keyboard.press('Tab');
    }
    for (const name of ['Functions', 'Logs', 'Filter', 'Replay all of these', 'Purge all of these'])
      expect(walked).toContain(name);
    await page.getByRole('button', { name: 'Purge all of these' }).focus();
    await page.keyboard.press('Enter');
    expect(await focused()).toBe('Cancel'); // What does no harm.
    await page.keyboard.press('Enter');
    expect(await page.getByRole('dialog').count()).toBe(0);
    await page.getByRole('link', { name: 'Functions' }).focus();
    await page.keyboard.press('Enter');
    await page.locator('h1', { hasText: 'Functions' }).waitFor();
    expect(await focused()).toBe('Functions');
    const header = page.getByRole('columnheader', { name: 'Calls', exact: true });
    await header.getByRole('button').focus();
    await page.keyboard.press('Space');
    expect(await header.getAttribute('aria-sort')).toBe('descending');
    expect(problems).toEqual([]);
  });

  it('has no barrier that axe knows, in light and dark, on a phone and a screen', async () => {
    const { id } = await world.send('POST', '/async-function/fails', 'seen');
    const { id: done } = await world.send('POST', '/async-function/echo', 'seen');
    await using open = await world.open(browser(), 'functions');
    const { page, problems } = open;
    await eventually(async () => (await world.send('GET', `/invocations/${id}`)).text.includes('"dead"') || undefined);
    const views = [
      'functions',
      'queues',
      'connectors',
      'invocations',
      `invocations/${done}`,
      'dead-letters',
      `dead-letters/${id}`,
    ];
    for (const view of [...views, 'invoke?function=echo', 'logs?function=echo', 'configuration']) {
      await go(page, world.url, view);
      await page.locator('table tbody tr, .timeline li, form, [role=log]').first().waitFor();
      for (const [width, colorScheme] of looks.slice(0, times(2, looks.length))) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 844 });
        const where = `${view.split(/[/?]/)[0]}${view.includes('/') ? '-one' : ''}-${width}-${colorScheme}`;
        expect(await barriersOf(page), where).toEqual([]);
        expect(await page.evaluate('document.documentElement.scrollWidth'), where).toBeLessThanOrEqual(width);
        await picture(page, where);
      }
    }
    await go(page, world.url, 'dead-letters');
    await press(page, 'Purge all of these');
    expect(await barriersOf(page)).toEqual([]);
    await press(page, 'Cancel');
    // It would be found out.
    await page.evaluate(`document.querySelector('main label').replaceWith(document.createElement('input'))`);
    expect(await barriersOf(page)).toEqual([expect.stringContaining('label ')]);
    expect(problems).toEqual([]);
  }, 90_000);

  it('is usable with 10,000 functions', async () => {
    const named = Array.from({ length: 10_000 }, (_, index) => [`f${index}.openfaas-fn`, undefined] as const);
    const api = await startApi({ functions: Object.fromEntries(named) });
    cleanups.push(() => api.close());
    await using watched = await world.open(browser(), 'functions');
    const { page, problems } = watched;
    await go(page, api.url, 'functions');
    await page.getByText('10,000 functions').waitFor();
    await page.getByText('1 to 100 of 10,000').waitFor();
    expect(await page.locator('tbody tr').count()).toBe(100);
    await press(page, 'Next page');
    await page.getByText('101 to 200 of 10,000').waitFor();
    await field(page, 'Name contains').fill('f777');
    await page.getByText('11 functions').waitFor();
    await picture(page, 'functions-10000');
    expect(problems).toEqual([]);
  });

  it('finds a gateway that was away', async () => {
    const yaml = (port: number): string =>
      `gateway: { listen: { port: ${port} }, management: { port: 0 } }\nfunctions: { NAME: { behaviour: echo } }\n`;
    const first = await testGateway(yaml(0).replace('NAME', 'first'));
    const port = Number(new URL(first.url).port);
    await using watched = await world.open(browser(), 'functions');
    const { page } = watched;
    await go(page, first.url, 'functions');
    await rowOf(page, 'first.openfaas-fn').waitFor();
    await first[Symbol.asyncDispose]();
    await page.locator('#live.bad').waitFor();
    await using second = await testGateway(yaml(port).replace('NAME', 'second'));
    expect(second.url).toBe(first.url);
    await rowOf(page, 'second.openfaas-fn').waitFor();
    expect(await page.locator('tbody tr').count()).toBe(1);
  });
});
