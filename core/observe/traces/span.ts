/** What goes from place to place of a trace (https://www.w3.org/TR/trace-context/); both ids in lower-case hex. */
export interface SpanContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly isSampled: boolean;
  /** `tracestate`, if there is one. */
  readonly state: string | undefined;
}

/** As OTLP numbers them. */
export const spanKinds = { server: 2, consumer: 5 } as const;

/** Names and values in turn: each span has a dozen, and a list costs less than as many objects. */
export type Attributes = readonly (string | number)[];

/** A span that is over. Times are wall clock, ms, with fractions. */
export interface EndedSpan {
  readonly context: SpanContext;
  readonly parent: SpanContext | undefined;
  readonly name: string;
  readonly kind: number;
  readonly startedAt: number;
  /** When the function began; undefined of one that did not. */
  readonly ranAt: number | undefined;
  readonly endedAt: number;
  readonly links: readonly SpanContext[];
  readonly droppedLinks: number;
  readonly failure: { readonly message: string | undefined } | undefined;
  /** Attributes that it has in common with many others, so that they need not be written anew for each. */
  readonly common: Attributes;
  /** The other ones. */
  readonly own: Attributes;
}

/** Writes spans as they end, so that nothing of their deliveries is kept until they are sent. */
export interface SpanWriter {
  add(span: EndedSpan): void;
  /** The request that tells a collector of all spans since the last one. */
  take(): Uint8Array;
}

export interface SpanWriterOptions {
  /** Of whom the spans are. */
  readonly resource: Readonly<Record<string, string>>;
  /** Of Millrace. */
  readonly version: string;
  /** Characters; attributes that are longer are cut. */
  readonly longestValue: number;
}

/** `millrace.run`: the moment at which a function began. */
export const runEvent = 'millrace.run';

/** The flags of a span or a link: those of W3C, and that (0x100) its parent is known to be remote or not (0x200). */
export function flagsOf({ isSampled }: SpanContext, isRemote: boolean): number {
  return (isSampled ? 1 : 0) | 0x100 | (isRemote ? 0x200 : 0);
}
