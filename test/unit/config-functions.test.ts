import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadConfig } from '../../core/config/load.ts';
import { secretFields } from '../../core/config/redact.ts';
import type { FunctionConfig } from '../../core/config/schema.ts';
import { secret } from '../../core/config/units.ts';
import { builtIns, inlinePlugin, testDefaults } from '../support/gateway.ts';

/** The functions of a configuration that says this beside its plugin. */
async function functionsOf(yaml: string): Promise<readonly FunctionConfig[]> {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-config-')), 'millrace.yaml');
  writeFileSync(file, `plugins: [${inlinePlugin}]\n${yaml}`);
  const { config } = await loadConfig(file, builtIns(), testDefaults, {});
  return [...(config?.functions.values() ?? [])];
}

describe('secrets', () => {
  it('are found below schemas that hold each other', () => {
    const inner = z.strictObject({
      get back(): z.ZodType {
        return outer;
      },
    });
    const outer = z.strictObject({ a: inner, key: secret() });
    const value = { a: { back: { key: 'canary' } } };
    expect(secretFields(outer, value)).toEqual([{ path: ['a', 'back', 'key'], value: 'canary' }]);
    expect(secretFields(inner, value.a), 'looked at while the other one was').toHaveLength(1);
  });
  it('are found in schemas without end', () => {
    const endless = (): z.ZodType =>
      z.strictObject({
        get next() {
          return endless();
        },
        key: secret(),
      });
    expect(secretFields(endless(), { next: { next: { key: 'canary' } } })).toHaveLength(1);
  });
});

describe('functions that say nothing of how they are run', () => {
  it('share one policy, which those that say something have no part in', async () => {
    const functions = await functionsOf(`policies: { retry: { standard: { attempts: 2 } } }
functions:
  first: { behaviour: echo }
  quick: { behaviour: echo, invoke: { timeout: 3s } }
  again: { behaviour: echo, annotations: { com.openfaas.retry.attempts: "7" } }
  quiet: { behaviour: echo, auth: event-only }
  last: { behaviour: echo, env: { A: b } }
`);
    const [first, quick, again, quiet, last] = functions.map(({ policy }) => policy);
    expect(last).toBe(first);
    expect(first).toMatchObject({ auth: undefined, timeoutMs: 30_000, retry: { attempts: 2 } });
    expect(quick).toEqual({ ...first, timeoutMs: 3000 });
    expect(again).toEqual({ ...first, retry: { ...first?.retry, attempts: 7 } });
    expect(quiet).toEqual({ ...first, auth: 'event-only' });
  });
  it('have the standard of their own configuration', async () => {
    for (const attempts of [3, 4]) {
      const [only] = await functionsOf(`policies: { retry: { standard: { attempts: ${attempts} } } }
functions: { only: { behaviour: echo } }
`);
      expect(only?.policy.retry.attempts).toBe(attempts);
    }
  });
});
