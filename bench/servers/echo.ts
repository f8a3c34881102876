export default (event: { body: Uint8Array; headers: Record<string, string> }) => ({
  status: 200,
  headers: { 'content-type': event.headers['content-type'] ?? 'text/plain' },
  body: event.body,
});
