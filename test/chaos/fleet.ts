import { setTimeout as delay } from 'node:timers/promises';
import { type GatewayProcess, startGateway, stopGateway } from '../support/gateway-process.ts';

/** Gateways on one configuration, which knows them apart by `PLACE`. Each place is filled again after its gateway was killed. */
export class Fleet {
  readonly #config: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #places: (GatewayProcess | undefined)[];
  /** How many were killed. */
  kills = 0;
  /** Those that ended though nobody killed them. */
  readonly complaints: string[] = [];

  constructor(config: string, env: Readonly<Record<string, string>>, size: number) {
    this.#config = config;
    this.#env = env;
    this.#places = Array.from({ length: size }, () => undefined);
  }

  /** Those that run. */
  get gateways(): readonly GatewayProcess[] {
    return this.#places.filter((gateway) => gateway !== undefined);
  }

  get urls(): readonly string[] {
    return this.gateways.map(({ url }) => url);
  }

  at(place: number): GatewayProcess | undefined {
    return this.#places[place];
  }

  /** Starts those that are missing; the one at `place` is killed by itself at that failpoint, if one is given. */
  async fill(place = -1, failpoint?: string): Promise<void> {
    await Promise.all(
      this.#places.map(async (there, index) => {
        if (there) return;
        const armed = index === place ? failpoint : undefined;
        const env = { ...this.#env, PLACE: String(index), ...(armed !== undefined && { MILLRACE_FAIL: armed }) };
        const gateway = await startGateway(this.#config, env).catch((error: unknown) => {
          // A failpoint may be reached while the gateway recovers: that is a kill like any other.
          if (armed === undefined || !String(error).includes('ended with SIGKILL')) throw error;
          this.kills++;
        });
        if (!gateway) return;
        this.#places[index] = gateway;
        void gateway.ended.then((how) => {
          if (this.#places[index] !== gateway) return;
          this.#places[index] = undefined;
          this.kills++;
          if (how === 'SIGKILL') return;
          this.complaints.push(`a gateway ended with ${how}: ${gateway.log.slice(-5).join('\n')}`);
        });
      }),
    );
  }

  /** kill -9, and waits until it is dead; returns how it ended. */
  async kill(place: number): Promise<number | string> {
    const gateway = this.#places[place];
    if (!gateway) return 'dead already';
    gateway.child.kill('SIGKILL');
    return gateway.ended;
  }

  /** Resolves when the gateway at that place has died by itself, or after so long. */
  async watch(place: number, ms: number): Promise<void> {
    const over = new AbortController();
    await Promise.race([
      this.#places[place]?.ended,
      delay(ms, undefined, { signal: over.signal }).catch(() => undefined),
    ]);
    over.abort();
  }

  /** Stops the one at that place as it should be stopped; returns what was wrong with that. */
  async leave(place: number): Promise<readonly string[]> {
    const gateway = this.#places[place];
    this.#places[place] = undefined;
    const code = gateway && (await stopGateway(gateway));
    return code === undefined || code === 0 ? [] : [`a gateway that left ended with ${code}`];
  }

  /** Stops all of them as they should be stopped; returns their exit codes. */
  async stop(): Promise<readonly (number | string)[]> {
    const gateways = this.#places.splice(0).filter((gateway) => gateway !== undefined);
    return Promise.all(gateways.map(stopGateway));
  }

  /** Whatever has happened, nothing is left running. */
  async dispose(): Promise<void> {
    const gateways = this.#places.splice(0).filter((gateway) => gateway !== undefined);
    await Promise.all(
      gateways.map((gateway) => {
        gateway.child.kill('SIGKILL');
        return gateway.ended;
      }),
    );
  }
}
