import { systemClock } from '../../core/contracts/clock.ts';
import { journalContract } from '../../core/testing/journal-contract.ts';
import { MemoryJournal } from '../../core/testing/memory-journal.ts';

journalContract({
  name: 'journal in memory',
  trims: true,
  create: async () => {
    const journal = new MemoryJournal(systemClock);
    return {
      journal,
      another: async () => journal,
      away: async () => {
        journal.available = false;
        return async () => {
          journal.available = true;
        };
      },
      dispose: async () => {},
    };
  },
});
