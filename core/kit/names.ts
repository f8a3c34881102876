/**
 * A function as callers name it: `name` or `name.namespace`. It begins with the name: of a namespace alone there is no function.
 */
export const functionNamePattern = /^[-a-zA-Z_0-9][-a-zA-Z_0-9.]*$/;
/** Of that, characters at most. */
export const longestFunctionName = 190;

/** The function's name with the namespace that it has unless it says otherwise. */
export function qualified(name: string, namespace: string): string {
  return name.includes('.') ? name : `${name}.${namespace}`;
}

/** Of `name.namespace`: the last dot separates. */
export function partsOf(fullName: string): { readonly name: string; readonly namespace: string } {
  const dot = fullName.lastIndexOf('.');
  return { name: fullName.slice(0, dot), namespace: fullName.slice(dot + 1) };
}

/** Of `name.namespace`: what follows the last dot. */
export function namespaceOf(fullName: string): string {
  return fullName.slice(fullName.lastIndexOf('.') + 1);
}
