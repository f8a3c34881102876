import type { IClientPublishOptions } from 'mqtt';
import type { OutgoingMessage } from '../../../core/contracts/connection.ts';
import { MillraceError } from '../../../core/contracts/errors.ts';

/**
 * What version 5 says beside the payload: user properties, among which those of an event have no prefix, and the content
 * type (https://github.com/cloudevents/spec, MQTT binding).
 */
export function propertiesOf(headers: OutgoingMessage['headers']): IClientPublishOptions['properties'] {
  const userProperties: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name === 'content-type') continue;
    userProperties[name.startsWith('ce-') ? name.slice(3) : name] = typeof value === 'string' ? value : [...value];
  }
  const { 'content-type': contentType } = headers;
  return {
    // For none the library writes a packet that the broker takes for malformed: it would be sent again for ever.
    ...(Object.keys(userProperties).length > 0 && { userProperties }),
    ...(contentType !== undefined && { contentType: String(contentType) }),
  };
}

/**
 * Version 3.1.1 has room for the payload only.
 *
 * @throws MillraceError `config.invalid` for what is not whole without its headers.
 */
export function requireStructured({ headers }: OutgoingMessage): void {
  if (String(headers['content-type']).startsWith('application/cloudevents')) return;
  const message = 'MQTT 3.1.1 has no headers: set structured: true at the reply, or version: 5 at the connection';
  throw new MillraceError('config.invalid', message);
}
