// @ts-check

/**
 * Headers as people write them, one `Name: value` a line.
 *
 * @param {string} text
 * @returns {Record<string, string>}
 */
export function headersOf(text) {
  /** @type {Record<string, string>} */
  const headers = {};
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const at = line.indexOf(':');
    if (at < 1) throw new Error(`A header is written "Name: value", and not "${line}".`);
    headers[line.slice(0, at).trim().toLowerCase()] = line.slice(at + 1).trim();
  }
  return headers;
}
