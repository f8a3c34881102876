/** The brokers that the tests and benchmarks run against. */
export const brokerKinds = ['nats', 'redis', 'amqp', 'kafka', 'mqtt'] as const;
export type BrokerKind = (typeof brokerKinds)[number];

/** A program and how it is run. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What a broker is to be run with. */
export interface PlanInput {
  /** Its own: state, settings and log. */
  readonly folder: string;
  /** Free ones of the loopback interface, as many as the recipe asks for. */
  readonly ports: readonly number[];
  /** Lines for the end of its file of settings. */
  readonly settings: readonly string[];
  /** Where each program of the recipe is. */
  readonly programs: Readonly<Record<string, string>>;
}

/** One broker, about to be started. */
export interface Plan {
  readonly url: string;
  /** By their name in the folder: settings and the like, written before each start. */
  readonly files: Readonly<Record<string, string>>;
  /** Run to its end before the very first start. */
  readonly first?: Command;
  /** Runs as long as the broker does. */
  readonly beside?: Command;
  readonly main: Command;
  /** A line of its log that says that it serves. */
  readonly ready: RegExp;
}

/** How a kind of broker is found, installed and run. */
export interface Recipe {
  /** The environment variable with the address of one that runs already. */
  readonly variable: string;
  readonly programs: readonly string[];
  /** Debian's packages that bring them. */
  readonly packages: readonly string[];
  readonly ports: number;
  readonly plan: (input: PlanInput) => Plan | Promise<Plan>;
}
