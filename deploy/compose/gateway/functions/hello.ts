/** Greets whoever is named in the body. */
export default async (event: { text(): string }) => ({ greeting: `Hello, ${event.text().trim() || 'world'}!` });
