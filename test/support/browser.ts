import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import { describeWithPrograms } from './with-broker.ts';

/** Pictures of the views, for people; CI may keep them. */
const artefacts = join(import.meta.dirname, '../artefacts');

/** Debian's, with letters to write with: the fonts that it recommends are a hundred times as large. */
const wanted = { programs: ['chromium'], packages: ['chromium', 'fonts-dejavu-core'] };

/** `describe` with Chromium, started once for all of its tests; where there is none, as `describeWithBroker`. */
export async function describeWithBrowser(name: string, suite: (browser: () => Browser) => void): Promise<void> {
  await describeWithPrograms(wanted, name, ({ chromium: executablePath = '' }) => {
    let browser: Browser | undefined;
    beforeAll(async () => {
      browser = await chromium.launch({ executablePath });
    });
    afterAll(() => browser?.close());
    suite(() => browser ?? unstarted());
  });
}

function unstarted(): never {
  throw new Error('the browser was not started');
}

/** A page that tells what went wrong in it: errors, and what its policy forbade. */
export interface WatchedPage extends AsyncDisposable {
  readonly page: Page;
  readonly problems: string[];
}

export async function watchedPage(browser: Browser, options: BrowserContextOptions = {}): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(25_000);
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => {
    // What the API refuses is written there too, by the browser itself.
    const isRefusal = message.text().startsWith('Failed to load resource');
    if (message.type() === 'error' && !isRefusal) problems.push(message.text());
  });
  return { page, problems, [Symbol.asyncDispose]: () => context.close() };
}

/** What axe finds in the way of people who use a keyboard, a screen reader, or see less; a line each. */
export async function barriersOf(page: Page): Promise<string[]> {
  if (!(await page.evaluate<boolean>('"axe" in window'))) await page.evaluate(axe.source);
  return page.evaluate<string[]>(`axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => id + ' ' + target + ': ' + failureSummary)))`);
}

export async function picture(page: Page, name: string): Promise<void> {
  mkdirSync(artefacts, { recursive: true });
  await page.screenshot({ path: join(artefacts, `${name}.png`) });
}
