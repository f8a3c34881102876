import sharp from 'sharp';
import type { Handler } from '../../../plugins/providers/worker/api.ts';

/** What claims to be larger is not unpacked: a file of some KiB may unpack to gigabytes. */
const maxPixels = 24_000_000;
const side = 200;

/** Answers the photo in the body as a JPEG of at most 200 by 200 pixels, or 422 when it is none. */
export default (async ({ body }) => {
  try {
    const thumbnail = await sharp(body, { limitInputPixels: maxPixels })
      // Less than the function has: what runs in sharp's own threads does not end with the function's.
      .timeout({ seconds: 15 })
      .autoOrient()
      .resize({ width: side, height: side, fit: 'inside', withoutEnlargement: true })
      .jpeg()
      .toBuffer();
    return { status: 200, headers: { 'content-type': 'image/jpeg' }, body: thumbnail };
  } catch (error) {
    const { message } = error as Error;
    // The machine was too slow, which may pass; all else is the photo's fault.
    if (message.startsWith('timeout')) throw error;
    return { status: 422, body: `this is no photo that can be read: ${message}\n` };
  }
}) satisfies Handler;
