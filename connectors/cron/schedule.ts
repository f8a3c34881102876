import { Cron } from 'croner';
import { messageOf } from '../../core/contracts/errors.ts';
import { parseDuration } from '../../core/config/units.ts';
import { Zone } from './zone.ts';

export interface ScheduleOptions {
  /** Five or six fields, `@daily` and its like, or `@every 30s`. */
  readonly schedule: string;
  /** IANA name. */
  readonly timeZone: string;
  /** Local dates, `2026-12-25`, without a slot. */
  readonly exclude?: readonly string[] | undefined;
  /** Instants, ms: the first and the last at which a slot may be. */
  readonly startAt?: number | undefined;
  readonly endAt?: number | undefined;
}

/** The times at which something is to happen. Everything is milliseconds since the Unix epoch. */
export interface Schedule {
  /** The first slot after the instant; undefined when there is none. */
  next(after: number): number | undefined;
  /** The last slot up to `until` and after `after`; undefined when there is none. */
  last(after: number, until: number): number | undefined;
}

type Next = (after: number) => number | undefined;

const nicknames: Readonly<Record<string, string>> = {
  '@yearly': '0 0 1 1 *',
  '@annually': '0 0 1 1 *',
  '@monthly': '0 0 1 * *',
  '@weekly': '0 0 * * 0',
  '@daily': '0 0 * * *',
  '@midnight': '0 0 * * *',
  '@hourly': '0 * * * *',
};

/** The question whether any date fits is asked from a fixed day, so that the answer never changes. */
const anyTime = Date.UTC(2026, 0, 1);

/** Says what is wrong with a schedule's text, or undefined. One that fits no date is wrong. */
export function scheduleProblem(text: string): string | undefined {
  try {
    return rule(text, new Zone('UTC'))(anyTime) === undefined ? 'no date ever fits it' : undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/**
 * Reads a schedule; throws with a message for people when it is none.
 *
 * When clocks change, a schedule that names hours means local times: one that is left out comes at the next instant
 * there is, together with others left out, once; one that comes twice counts the first time. A schedule for every hour
 * means the passing of time and is not bent. Croner is asked only about dates, because what it does at a change depends
 * on how many values a field has: it drops `0,30 2 * * *` in spring and repeats it in autumn.
 *
 * `@every` counts from the epoch, so that every replica, and the next start, sees the same slots.
 */
export function createSchedule(options: ScheduleOptions): Schedule {
  const zone = new Zone(options.timeZone);
  const byRule = rule(options.schedule, zone);
  const excluded = new Set(options.exclude);
  const { startAt = -Infinity, endAt = Infinity } = options;

  const next: Next = (after) => {
    let slot = byRule(Math.max(after, startAt - 1));
    while (slot !== undefined && slot <= endAt) {
      if (excluded.size === 0 || !excluded.has(zone.dateOf(slot))) return slot;
      slot = byRule(zone.nextDay(slot) - 1);
    }
    return undefined;
  };

  /** Looks back in growing steps: between two distant instants there may be millions of slots. */
  const last: Schedule['last'] = (after, until) => {
    for (let step = 1000; ; step *= 4) {
      const from = Math.max(after, until - step);
      let found: number | undefined;
      for (let slot = next(from); slot !== undefined && slot <= until; slot = next(slot)) found = slot;
      if (found !== undefined || from === after) return found;
    }
  };

  return { next, last };
}

function rule(text: string, zone: Zone): Next {
  const trimmed = text.trim();
  if (trimmed.startsWith('@every')) return every(trimmed);
  const fields = (nicknames[trimmed.toLowerCase()] ?? trimmed).split(/\s+/);
  if (trimmed.startsWith('@') && fields.length === 1) {
    throw new Error(`there is no "${trimmed}"; known are ${Object.keys(nicknames).join(', ')} and "@every 30s"`);
  }
  if (fields.length !== 5 && fields.length !== 6) {
    throw new Error(`expected five fields (minute hour day month weekday) or six (with seconds first), got "${text}"`);
  }
  const local = localTimes(fields);
  const hours = fields[fields.length - 4];
  return hours === '*' || hours === '?' ? byPassingTime(local, zone) : byLocalTime(local, zone);
}

/** The rule in local times. */
function localTimes(fields: readonly string[]): Next {
  let cron: Cron;
  try {
    // Not `timezone: 'UTC'`: for that it asks the tables of ICU, 5 MB that are read for nothing else.
    cron = new Cron(fields.join(' '), { utcOffset: 0, paused: true, mode: '5-or-6-parts' });
  } catch (error) {
    throw new Error(messageOf(error).replace(/^Cron\w*: /, ''), { cause: error });
  }
  return (after) => cron.nextRun(new Date(after))?.getTime();
}

function byLocalTime(local: Next, zone: Zone): Next {
  return (after) => {
    for (let time = local(zone.localOf(after)); time !== undefined; time = local(time)) {
      const slot = zone.instantOf(time);
      if (slot > after) return slot;
    }
    return undefined;
  };
}

/** Every instant whose local time fits: what is left out is left out, what comes twice counts twice. */
function byPassingTime(local: Next, zone: Zone): Next {
  return (after) => {
    let from = after;
    let localFrom = zone.localOf(after);
    for (;;) {
      const time = local(localFrom);
      if (time === undefined) return undefined;
      const slot = time - (zone.localOf(from) - from);
      if (zone.localOf(slot) === time) return slot;
      // The clocks change before it: look again from the change, whose own instant counts.
      from = zone.changeBetween(from, slot);
      localFrom = zone.localOf(from) - 1;
    }
  };
}

function every(text: string): Next {
  const interval = parseDuration(text.slice('@every'.length).trim());
  if (interval === undefined || interval < 1000) {
    throw new Error(`expected "@every" and a duration of 1s or more, such as "@every 30s", got "${text}"`);
  }
  return (after) => (Math.floor(after / interval) + 1) * interval;
}
