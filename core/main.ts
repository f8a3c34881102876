#!/usr/bin/env node
import { exitCodes } from './cli/exit-codes.ts';
import { refusalOfNode } from './node-version.ts';

// Before anything is loaded that an older release could not even read.
const refusal = refusalOfNode(process.versions.node);
if (refusal !== undefined) {
  console.error(refusal);
  process.exit(exitCodes.failed);
}
await import('./program.ts');
