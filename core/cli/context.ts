import type { Command } from 'commander';
import type { ConfigDefaults } from '../config/load.ts';
import type { Registry } from '../host/registry.ts';

/** What the program gives to the commands that read a configuration. */
export interface CliContext {
  readonly registry: Registry;
  readonly defaults: ConfigDefaults;
}

/** And to those that tell of all the others. */
export interface TreeContext extends CliContext {
  /** Every command, in the order of the help. */
  readonly tree: () => Promise<Command>;
}

/** Where the configuration is unless the command line says otherwise. */
export const standardConfig = 'config/millrace.yaml';
