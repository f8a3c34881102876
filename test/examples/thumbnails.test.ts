import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Example, fileOf, patient } from '../support/example.ts';

const photo = await readFile(fileOf('thumbnails', 'samples/photo.jpg'));
const broken = await readFile(fileOf('thumbnails', 'samples/broken.png'));

let example: Example;
beforeAll(async () => {
  example = await Example.start('thumbnails');
}, 60_000);
afterAll(() => example[Symbol.asyncDispose]());

const upload = (body: Uint8Array<ArrayBuffer>, headers = {}): Promise<Response> =>
  fetch(`${example.url}/photos`, { method: 'POST', headers, body });
const idOf = (answer: Response): string => answer.headers.get('x-invocation-id') ?? '';

async function expectThumbnail(answer: Response): Promise<void> {
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('image/jpeg');
  const { format, width, height } = await sharp(await answer.bytes()).metadata();
  expect({ format, width, height }).toEqual({ format: 'jpeg', width: 200, height: 150 });
}

it('thumbnails: a photo is made small, and a broken one is kept until a whole one is sent', async () => {
  const key = { 'idempotency-key': 'photo-1' };
  const accepted = await upload(photo, key);
  expect(accepted.status).toBe(202);
  expect(accepted.headers.get('x-durability')).toBe('disk');
  await expectThumbnail(await example.result(idOf(accepted)));
  expect(idOf(await upload(photo, key))).toBe(idOf(accepted));

  const refused = await example.result(idOf(await upload(broken)));
  expect(refused.status).toBe(422);
  expect(await refused.text()).toMatch(/^this is no photo that can be read: .+\n$/);
  const [letter] = await example.letters();
  expect(letter).toMatchObject({ function: 'thumbnail.openfaas-fn', reason: 'permanent', attempt: 1 });
  const kept = await fetch(`${example.url}/system/dead-letters/${letter?.id}/body`);
  expect(Buffer.from(await kept.bytes()).equals(broken)).toBe(true);

  await expectThumbnail(await example.result(await example.replay(letter?.id, 'samples/photo.jpg')));
  await expect.poll(() => example.letters(), patient).toEqual([]);
});

it('thumbnails: what would unpack to too much is refused before it is unpacked', async () => {
  const bomb = await sharp({ create: { width: 6000, height: 5000, channels: 3, background: 'white' } })
    .png()
    .toBuffer();
  expect(bomb.length).toBeLessThan(1_000_000);
  const refused = await example.result(idOf(await upload(new Uint8Array(bomb))));
  expect(refused.status).toBe(422);
  expect(await refused.text()).toContain('exceeds pixel limit');
});
