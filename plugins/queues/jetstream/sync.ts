import { get } from '../../../core/kit/http.ts';
import type { Logger } from 'pino';
import { messageOf } from '../../../core/contracts/errors.ts';

/** Whether every one of the servers says that it syncs each write (2.10 and later, `sync_interval: always`). */
export async function syncsAlways(monitors: readonly string[], logger: Logger): Promise<boolean> {
  if (monitors.length === 0) return false;
  const answers = await Promise.all(
    monitors.map(async (monitor) => {
      try {
        return (await ask(new URL('/jsz', monitor))).config?.sync_always === true;
      } catch (error) {
        logger.warn({ monitor, reason: messageOf(error) }, 'the server does not say whether it syncs each write');
        return false;
      }
    }),
  );
  return answers.every(Boolean);
}

function ask(url: URL): Promise<{ readonly config?: { readonly sync_always?: unknown } }> {
  return new Promise((resolve, reject) => {
    const request = get(url, { timeout: 3000 }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > 2 ** 20) request.destroy(new Error('the answer is too long'));
      });
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve(JSON.parse(text) as { config?: { sync_always?: unknown } });
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on('timeout', () => request.destroy(new Error('no answer within 3 s')));
    request.on('error', reject);
  });
}
