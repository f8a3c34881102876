import { Command } from 'commander';
import { expect, it } from 'vitest';
import { registerCommands } from '../../core/cli/commands.ts';
import { Registry } from '../../core/host/registry.ts';

const context = {
  registry: new Registry({ connections: {}, connectors: {}, queues: {}, stores: {}, providers: {} }),
  defaults: { queues: {}, stores: {}, providers: {}, connectors: {} },
};

async function registered(word?: string): Promise<string[]> {
  const program = new Command();
  await registerCommands(program, context, word);
  return program.commands.map((command) => command.name());
}

it('finds each command by its word, alone or with those of its file', async () => {
  const all = await registered();
  expect(all.length).toBeGreaterThan(15);
  for (const name of all) {
    const found = await registered(name);
    expect(found).toContain(name);
    expect(found.length, name).toBeLessThanOrEqual(3);
  }
});

it('has all of them for the help and for what was misspelt', async () => {
  const all = await registered();
  for (const word of ['help', '--help', 'serv', 'toString']) expect(await registered(word)).toEqual(all);
});
