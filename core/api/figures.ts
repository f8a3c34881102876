import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import { MillraceError } from '../contracts/errors.ts';
import type { FunctionEntry } from '../contracts/provider.ts';
import { isoTime } from '../kit/time.ts';
import { secondsBuckets } from '../observe/meter.ts';
import { eventText, streamed } from './event-stream.ts';
import { deployedFunctions } from './names.ts';
import { type QueueRow, queueRows } from './queues.ts';
import { type ApiRoute, route } from './route.ts';
import { connectorView, queueRow } from './schemas.ts';
import type { ManagementServices } from './services.ts';

/** How often they are told: often enough to look at, and a second viewer costs little. */
const everyMs = 2000;

const attemptsView = z.object({
  running: z.int(),
  ended: z.int().meta({ description: 'Since the start, as all of these.' }),
  failed: z.int().meta({ description: 'Of these: with a status from 400.' }),
  seconds: z.number().meta({ description: 'That they took, all together.' }),
  buckets: z.array(z.int()).meta({ description: 'How many of them took up to each of `bounds`, and longer than any.' }),
});

const functionRow = z.object({
  name: z.string().meta({ description: '`name.namespace`' }),
  state: z.string(),
  message: z.string().optional(),
  provider: z.string(),
  replicas: z.int(),
  availableReplicas: z.int(),
  attempts: attemptsView.optional(),
});
type FunctionRow = z.input<typeof functionRow>;

const newsOf = (row: z.ZodType): z.ZodObject => z.object({ changed: z.array(row), gone: z.array(z.string()) });

/** What one message holds. A row that is not named is as it was. */
export const figuresView = z.object({
  at: z.iso.datetime(),
  bounds: z
    .array(z.number())
    .optional()
    .meta({ description: 'Only of the first message: upper ones of `buckets`, in s.' }),
  functions: newsOf(functionRow),
  queues: newsOf(queueRow),
  connectors: newsOf(connectorView),
  problem: z.string().optional().meta({ description: 'Why the queues could not be asked; they stay as they were.' }),
});

export const figureRoutes: readonly ApiRoute[] = [
  route({
    method: 'GET',
    path: '/system/figures',
    auth: 'operate',
    tag: 'events',
    summary: 'Figures of functions, queues and connectors, every two seconds (Server-Sent Events).',
    description:
      'The first message of type `figures` has all of them, each later one what is new. Calls that wait in the gateway are told ' +
      'of functions that have some. Who reads slowly misses a message, and no change: the next one has it.',
    responses: { 200: { description: 'Goes on until either side closes.', mediaType: 'text/event-stream' } },
    handle: (_input, context) =>
      streamed(context, 'text/event-stream; charset=utf-8', (response) => told(response, context.services)),
  }),
];

function told(response: ServerResponse, services: ManagementServices): () => void {
  const functions = new News<FunctionRow>();
  const queues = new News<QueueRow>();
  const connectors = new News<z.input<typeof connectorView>>();
  let isFirst = true;
  let isAsking = false;
  const tell = async (): Promise<void> => {
    if (isAsking || response.writableNeedDrain) return;
    isAsking = true;
    const waiting = await queueRows(services).catch(problemOf);
    isAsking = false;
    if (response.writableEnded) return;
    const news = {
      at: isoTime(Date.now()),
      ...(isFirst && { bounds: secondsBuckets }),
      functions: functions.of(deployedFunctions(services), nameOf, markOf, (entry) => rowOf(entry, services)),
      ...(typeof waiting === 'string'
        ? { queues: nothing, problem: waiting }
        : { queues: queues.of(waiting.filter(isShown), keyOf, JSON.stringify, itself) }),
      connectors: connectors.of(services.connectors(), nameOf, JSON.stringify, itself),
    };
    isFirst = false;
    response.write(eventText('figures', news));
  };
  const markOf = (entry: FunctionEntry): string => {
    const { state, message, replicas, availableReplicas } = entry.status;
    const attempts = services.attempts(entry.name);
    return `${state} ${message} ${replicas} ${availableReplicas} ${attempts?.running} ${attempts?.ended} ${entry.providerName}`;
  };
  void tell();
  const timer = setInterval(() => void tell(), everyMs);
  return () => clearInterval(timer);
}

/** What one listener has been told of the rows of one kind: he is told what is new. */
class News<Row> {
  #told = new Map<string, string>();

  /** `markOf` is another one for a row that has changed: of thousands that have not, no row is made. */
  of<Item>(
    items: readonly Item[],
    keyOf: (item: Item) => string,
    markOf: (item: Item) => string,
    rowOf: (item: Item) => Row,
  ): { readonly changed: readonly Row[]; readonly gone: readonly string[] } {
    const marks = new Map<string, string>();
    const changed: Row[] = [];
    for (const item of items) {
      const key = keyOf(item);
      const mark = markOf(item);
      marks.set(key, mark);
      if (this.#told.get(key) !== mark) changed.push(rowOf(item));
    }
    const gone = [...this.#told.keys()].filter((key) => !marks.has(key));
    this.#told = marks;
    return { changed, gone };
  }
}

const nothing = { changed: [], gone: [] };
const nameOf = ({ name }: { readonly name: string }): string => name;
const itself = <Item>(item: Item): Item => item;

/** Names are unique within these. */
function keyOf({ level, name, queue, provider }: QueueRow): string {
  return [level, queue ?? provider ?? '', name].join('/');
}

/** Every function has a waiting room, and most of them are empty. */
function isShown({ level, ready, leased }: QueueRow): boolean {
  return level !== 'gateway' || ready + leased > 0;
}

function rowOf({ name, status, providerName }: FunctionEntry, services: ManagementServices): FunctionRow {
  const { state, message, replicas, availableReplicas } = status;
  const attempts = services.attempts(name);
  return {
    name,
    state,
    ...(message !== undefined && { message }),
    provider: providerName,
    replicas,
    availableReplicas,
    ...(attempts && { attempts: { ...attempts, buckets: [...attempts.buckets] } }),
  };
}

function problemOf(error: unknown): string {
  return error instanceof MillraceError ? error.message : 'the queues could not be asked; the log says why';
}
