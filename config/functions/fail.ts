/** Fails until you mend it: set `broken` to false, save, and replay its dead letters. */
const broken = true;

export default (event: { text(): string }) => {
  if (broken) throw new Error('this function is broken');
  return `mended: ${event.text()}\n`;
};
