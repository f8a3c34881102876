import manifest from '../package.json' with { type: 'json' };

/** Of this release, as package.json has it. */
export const version: string = manifest.version;
/** What the gateway calls itself to callers, functions and receivers of callbacks. */
export const product = `millrace/${version}`;
