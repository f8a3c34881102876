import { accept, acceptPeer, drain } from './asynchronous.ts';
import { functions, inline, observed, pooled } from './calls.ts';
import { growth, pipeline } from './queue.ts';
import type { Row } from './row.ts';
import { cold, idle, start } from './starts.ts';
import { streaming } from './streaming.ts';

/** In the order of the page. */
export const rows: readonly Row[] = [
  pipeline,
  inline,
  pooled,
  accept,
  acceptPeer,
  drain,
  growth,
  functions,
  start,
  cold,
  streaming,
  observed,
  idle,
];
