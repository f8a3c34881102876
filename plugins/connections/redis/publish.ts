import type { OutgoingMessage } from '../../../core/contracts/connection.ts';
import type { RedisArgument } from './connection.ts';
import { bufferOf } from '../../../core/kit/body.ts';

/** An entry of a stream: its headers are fields, and its body is the field `body`. */
export function entryOf({ to, key, headers, body }: OutgoingMessage): RedisArgument[] {
  const fields: RedisArgument[] = [];
  for (const [name, value] of Object.entries(headers)) fields.push(name, [value].flat().join(', '));
  if (key !== undefined) fields.push('key', key);
  fields.push('body', bufferOf(body));
  return [to, '*', ...fields];
}
