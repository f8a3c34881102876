import { describe, it } from 'vitest';
import type { Store } from '../../core/contracts/store.ts';
import { storeContract } from '../../core/testing/store-contract.ts';
import memory from '../../plugins/stores/memory/index.ts';
import { movableClock, quietHost } from '../support/quiet-host.ts';

describe('store memory', () => {
  storeContract(
    async () => {
      const clock = movableClock();
      const store: Store = memory.create(memory.config.parse({}), quietHost(clock));
      await store.start();
      return { store, advance: clock.advance, dispose: () => store.stop(1000) };
    },
    it,
    { durable: false },
  );
});
