import { createHash } from 'node:crypto';
import { Observable, type Subscriber } from '../../core/kit/rxjs.ts';
import type { Connector, ConnectorHealth, Credit, Triggered } from '../../core/contracts/connector.ts';
import type { ConnectorHost } from '../../core/contracts/definition.ts';
import type { Delivery } from '../../core/contracts/delivery.ts';
import { messageOf } from '../../core/contracts/errors.ts';
import type { FunctionSpec } from '../../core/contracts/provider.ts';
import type { CronConfig, SlotConfig } from './config.ts';
import { CronConnector, type Sleep } from './connector.ts';
import { scheduleProblem } from './schedule.ts';
import { isTimeZone } from './zone.ts';

/** As OpenFaaS's cron connector has it. */
const topic = 'cron-function';

/** The schedules that functions have in their annotations: a connector of its own for each, as long as it is there. */
export class AnnotatedCron implements Connector {
  readonly #config: CronConfig;
  readonly #host: ConnectorHost;
  readonly #sleep: Sleep | undefined;
  /** By function and schedule. */
  readonly #children = new Map<string, CronConnector>();
  readonly #ending = new Set<Promise<void>>();
  #out: { readonly subscriber: Subscriber<Delivery>; readonly credit: Credit } | undefined;
  #lastError: string | undefined;

  constructor(config: CronConfig, host: ConnectorHost, sleep?: Sleep) {
    this.#config = config;
    this.#host = host;
    this.#sleep = sleep;
  }

  async start(): Promise<void> {
    // The functions are followed with the deliveries: nothing fires before it can be given on.
  }

  deliveries(credit: Credit): Observable<Delivery> {
    return new Observable((subscriber) => {
      this.#out = { subscriber, credit };
      const end = this.#host.functions.onChange(() => this.#follow());
      this.#follow();
      return () => {
        end();
        this.#out = undefined;
        for (const child of this.#children.values()) this.#end(child);
      };
    });
  }

  health(): ConnectorHealth {
    const children = [...this.#children.values()].map((child) => child.health());
    const lastError = this.#lastError ?? children.find((each) => each.lastError !== undefined)?.lastError;
    return { state: this.#out ? 'running' : 'stopped', reconnects: 0, lastError };
  }

  async trigger(slots?: { readonly from: number; readonly to: number }): Promise<readonly Triggered[]> {
    const triggered: Triggered[] = [];
    for (const child of this.#children.values()) triggered.push(...(await child.trigger(slots)));
    return triggered;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#ending);
  }

  #follow(): void {
    const wanted = new Map(this.#host.functions.list().flatMap((spec) => this.#configsOf(spec)));
    for (const [key, child] of this.#children) {
      if (wanted.has(key)) continue;
      this.#children.delete(key);
      this.#end(child);
    }
    for (const [key, config] of wanted) if (!this.#children.has(key)) this.#begin(key, config);
  }

  #configsOf({ name, annotations }: FunctionSpec): [string, SlotConfig][] {
    const { annotation = '' } = this.#config;
    const topics = (annotations['topic'] ?? '').split(',').map((each) => each.trim());
    const text = annotations[annotation];
    if (text === undefined || !topics.includes(topic)) return [];
    return text.split(';').flatMap((each): [string, SlotConfig][] => {
      const [, timeZone = this.#config.timeZone, schedule = ''] = /^\s*(?:CRON_TZ=(\S+)\s+)?(.*?)\s*$/.exec(each) ?? [];
      if (schedule === '') return [];
      const problem = isTimeZone(timeZone) ? scheduleProblem(schedule) : `"${timeZone}" is no time zone`;
      if (problem === undefined)
        return [[`${name} ${timeZone} ${schedule}`, { ...this.#config, schedule, timeZone, function: name }]];
      const lastError = `the annotation ${annotation} of ${name} is "${each.trim()}": ${problem}`;
      if (this.#lastError !== lastError) this.#host.logger.error({ function: name }, lastError);
      this.#lastError = lastError;
      return [];
    });
  }

  #begin(key: string, config: SlotConfig): void {
    const { subscriber, credit } = this.#out ?? {};
    if (!subscriber || !credit) return;
    // Its slots and its record are its own, whatever other schedules the function has.
    const id = `${this.#host.name}/${createHash('sha256').update(key).digest('hex').slice(0, 16)}`;
    const child = new CronConnector(config, this.#host, { id, topic, sleep: this.#sleep });
    this.#children.set(key, child);
    child.start().then(
      () => child.deliveries(credit).subscribe((delivery) => subscriber.next(delivery)),
      (error: unknown) => {
        this.#lastError = messageOf(error);
        this.#host.logger.error({ err: error, function: config.function }, 'a schedule could not be started');
      },
    );
  }

  #end(child: CronConnector): void {
    const ended = child.stop(1000).finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
  }
}
