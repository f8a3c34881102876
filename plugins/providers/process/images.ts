import type { z } from 'zod';
import { MillraceError } from '../../../core/contracts/errors.ts';
import type { processConfig } from './index.ts';

type Images = z.output<typeof processConfig>['images'];
export type Image = Images[string];

/**
 * What runs in place of an image: by its exact name, else by its name without tag and digest, else by the longest
 * pattern that fits.
 *
 * @throws MillraceError when the table has none.
 */
export function imageOf(images: Images, name: string): Image {
  const patterns = Object.keys(images)
    .filter((key) => key.includes('*'))
    .sort((a, b) => b.length - a.length);
  const key = [name, untagged(name), ...patterns.filter((pattern) => fits(pattern, name))].find((known) =>
    Object.hasOwn(images, known),
  );
  const image = key === undefined ? undefined : images[key];
  if (image) return image;
  const text = `no command is known for image "${name}": add it to "images" of the provider`;
  throw new MillraceError('config.invalid', text);
}

/** A port of the registry is no tag. */
function untagged(name: string): string {
  return name.replace(/@[^@/]*$/, '').replace(/:[^:/]*$/, '');
}

function fits(pattern: string, name: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  if (!name.startsWith(first)) return false;
  let at = first.length;
  for (const [index, part] of rest.entries()) {
    const isLast = index === rest.length - 1;
    const found = isLast ? name.length - part.length : name.indexOf(part, at);
    if (found < at || !name.startsWith(part, found)) return false;
    at = found + part.length;
  }
  return true;
}
