import type { ConfigDefaults } from '../config/load.ts';
import type { Registry } from '../host/registry.ts';

/** What the program gives to the commands that read a configuration. */
export interface CliContext {
  readonly registry: Registry;
  readonly defaults: ConfigDefaults;
}

/** Where the configuration is unless the command line says otherwise. */
export const standardConfig = 'config/millrace.yaml';
