import { type FunctionAuth, functionAuths, type FunctionPolicy } from '../contracts/policy.ts';
import type { FunctionSpec } from '../contracts/provider.ts';

/** Says who may call a function, for those that are deployed with annotations only. */
export const authAnnotation = 'millrace.dev/auth';

/** What the answer to a call without credentials asks for; faas-cli knows the realm. */
export const functionChallenge = 'Bearer realm="IAM function invoke"';

/** What the annotation says; undefined where there is none. */
export function annotatedAuth(annotations: FunctionSpec['annotations']): FunctionAuth | 'unknown' | undefined {
  const text = annotations[authAnnotation];
  if (text === undefined) return undefined;
  return functionAuths.find((auth) => auth === text) ?? 'unknown';
}

/** What the function says of itself. A word that is none was meant to close it, and does. */
export function authOf(
  { annotations }: Pick<FunctionSpec, 'annotations'>,
  { auth }: Pick<FunctionPolicy, 'auth'>,
): FunctionAuth | undefined {
  const annotated = annotatedAuth(annotations);
  return auth ?? (annotated === 'unknown' ? 'event-only' : annotated);
}
