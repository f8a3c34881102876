/** What the clock runs every minute. */
export default (event: { headers: Record<string, string>; json(): unknown }) => {
  console.log(`report for ${event.headers['ce-time'] ?? 'now'}`);
  return { reported: event.json() };
};
