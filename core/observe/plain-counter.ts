import { Counter, type Registry } from './prometheus.ts';

/**
 * A counter with one label. It counts in plain numbers, and tells them when somebody asks: prom-client looks its labels up
 * for each one, which costs more than a stage of the pipeline.
 */
export class PlainCounter extends Counter {
  readonly #label: string;
  readonly #untold = new Map<string, { count: number }>();

  constructor(name: string, help: string, label: string, registry: Registry) {
    super({
      name,
      help,
      labelNames: [label],
      registers: [registry],
      collect() {
        (this as PlainCounter).#tell();
      },
    });
    this.#label = label;
  }

  of(labelled: string): { inc(by?: number): void } {
    const untold = this.#untold.get(labelled) ?? { count: 0 };
    this.#untold.set(labelled, untold);
    return {
      inc(by = 1) {
        untold.count += by;
      },
    };
  }

  #tell(): void {
    for (const [labelled, untold] of this.#untold) {
      if (untold.count > 0) this.inc({ [this.#label]: labelled }, untold.count);
      untold.count = 0;
    }
  }
}
