import { setFlagsFromString } from 'node:v8';

// Imported first, before the heap has learnt anything. V8 would allocate in the old generation what it saw survive
// while the gateway started; on the way of a call that makes dead requests keep live ones, and every young collection
// copies them: a fifth of the gateway's CPU time (docs/benchmarks.md says how it was measured).
setFlagsFromString('--no-allocation-site-pretenuring');

// Else V8 marks the whole heap at each 64 MiB of buffers outside of it, however short they live: of what a streamed body costs that
// was two fifths. So they count with the heap, and go with its young collections.
setFlagsFromString('--external-memory-accounted-in-global-limit');
