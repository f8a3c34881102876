/**
 * Loaded before a gateway: whoever writes into what all objects share is told so by a TypeError. Properties of their own
 * may have the same names (`toString`), which a frozen prototype alone would forbid.
 */
for (const shared of [Object.prototype, Array.prototype, Map.prototype, Set.prototype, Promise.prototype]) {
  for (const key of Reflect.ownKeys(shared)) {
    const { value, configurable, writable } = Object.getOwnPropertyDescriptor(shared, key) ?? {};
    if (!configurable || !writable) continue;
    Object.defineProperty(shared, key, {
      get: () => value,
      set(this: object, own: unknown) {
        if (this === shared) throw new TypeError(`${String(key)} of a shared prototype is not to be written`);
        Object.defineProperty(this, key, { value: own, configurable: true, enumerable: true, writable: true });
      },
    });
  }
}
Object.freeze(Object.prototype);
