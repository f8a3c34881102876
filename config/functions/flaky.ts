/** Fails on its first attempt only: watch it being tried again. */
export default (_event: unknown, { attempt }: { attempt: number }) => {
  if (attempt === 1) throw new Error('the first attempt fails');
  return `done at attempt ${attempt}\n`;
};
