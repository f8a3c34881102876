import { describe } from 'vitest';
import { accessRules } from './rules-of-access.ts';
import { definitionRules } from './rules-of-definitions.ts';
import { objectRules } from './rules-of-objects.ts';
import { readRules } from './rules-of-reads.ts';
import { writeRules } from './rules-of-writes.ts';
import { type ApiUnderTest, rulesWorld } from './rules-world.ts';

/** The rules of an API server that a provider can trip over: the same suite on the fake and on a real one. */
export function apiRules(name: string, open: () => Promise<ApiUnderTest>): void {
  describe(name, () => {
    const world = rulesWorld(open);
    writeRules(world);
    readRules(world);
    objectRules(world);
    accessRules(world);
    definitionRules(world);
  });
}
