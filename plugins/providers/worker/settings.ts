import { functionEnv } from '../../../core/kit/environment.ts';

/** What a function's threads are like: the provider's configuration with the function's own on top. */
export interface PoolSettings {
  /** `name.namespace` */
  readonly function: string;
  readonly moduleUrl: string;
  readonly env: Readonly<Record<string, string>>;
  readonly min: number;
  readonly max: number;
  readonly idleMs: number;
  readonly perThread: number;
  readonly memory: number;
  readonly graceMs: number;
  readonly startMs: number;
  readonly maxBody: number;
}

const passedOn = ['PATH', 'TZ', 'LANG', 'LC_ALL', 'NODE_ENV', 'NODE_COMPILE_CACHE'];

export function threadEnv(own: Readonly<Record<string, string>>): Record<string, string> {
  return functionEnv(passedOn, own);
}
