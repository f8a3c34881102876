/** Greets whoever is named in the body. */
export default async (event: { text(): string }, context: { attempt: number }) => {
  const name = event.text().trim() || 'world';
  console.log(`greeting ${name}, attempt ${context.attempt}`);
  return { greeting: `Hello, ${name}!`, at: new Date().toISOString() };
};
