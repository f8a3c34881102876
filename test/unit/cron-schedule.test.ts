import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSchedule, scheduleProblem, type ScheduleOptions } from '../../connectors/cron/schedule.ts';
import { isTimeZone, Zone } from '../../connectors/cron/zone.ts';

function slots(options: ScheduleOptions, from: string, count: number): string[] {
  const schedule = createSchedule(options);
  const found: string[] = [];
  let slot = schedule.next(Date.parse(from));
  while (slot !== undefined && found.length < count) {
    found.push(new Date(slot).toISOString().replace(':00.000Z', 'Z'));
    slot = schedule.next(slot);
  }
  return found;
}

describe('when clocks change', () => {
  const rows: [name: string, timeZone: string, schedule: string, from: string, expected: string[]][] = [
    // Berlin: 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00, both at 01:00Z.
    [
      'a time left out comes at the change',
      'Europe/Berlin',
      '30 2 * * *',
      '2026-03-28T00:00Z',
      ['2026-03-28T01:30Z', '2026-03-29T01:00Z', '2026-03-30T00:30Z'],
    ],
    [
      'several times left out come once',
      'Europe/Berlin',
      '0,30 2 * * *',
      '2026-03-28T02:00Z',
      ['2026-03-29T01:00Z', '2026-03-30T00:00Z', '2026-03-30T00:30Z'],
    ],
    [
      'a time left out and the one at the change come once',
      'Europe/Berlin',
      '0 1-4 * * *',
      '2026-03-28T23:30Z',
      ['2026-03-29T00:00Z', '2026-03-29T01:00Z', '2026-03-29T02:00Z', '2026-03-29T23:00Z'],
    ],
    [
      'a time that comes twice counts once',
      'Europe/Berlin',
      '30 2 * * *',
      '2026-10-24T00:00Z',
      ['2026-10-24T00:30Z', '2026-10-25T00:30Z', '2026-10-26T01:30Z'],
    ],
    [
      'several times that come twice count once',
      'Europe/Berlin',
      '0,30 2 * * *',
      '2026-10-24T12:00Z',
      ['2026-10-25T00:00Z', '2026-10-25T00:30Z', '2026-10-26T01:00Z', '2026-10-26T01:30Z'],
    ],
    [
      'every half hour goes on in spring',
      'Europe/Berlin',
      '*/30 * * * *',
      '2026-03-29T00:15Z',
      ['2026-03-29T00:30Z', '2026-03-29T01:00Z', '2026-03-29T01:30Z'],
    ],
    [
      'every half hour goes on in autumn',
      'Europe/Berlin',
      '*/30 * * * *',
      '2026-10-25T00:15Z',
      ['2026-10-25T00:30Z', '2026-10-25T01:00Z', '2026-10-25T01:30Z', '2026-10-25T02:00Z'],
    ],
    // New York: 2026-03-08 02:00 becomes 03:00 at 07:00Z, 2026-11-01 02:00 becomes 01:00 at 06:00Z.
    [
      'a time left out comes at the change',
      'America/New_York',
      '30 2 * * *',
      '2026-03-07T00:00Z',
      ['2026-03-07T07:30Z', '2026-03-08T07:00Z', '2026-03-09T06:30Z'],
    ],
    [
      'a step of hours is local times',
      'America/New_York',
      '0 */2 * * *',
      '2026-03-08T04:30Z',
      ['2026-03-08T05:00Z', '2026-03-08T07:00Z', '2026-03-08T08:00Z', '2026-03-08T10:00Z'],
    ],
    [
      'a time that comes twice counts once',
      'America/New_York',
      '30 1 * * *',
      '2026-10-31T00:00Z',
      ['2026-10-31T05:30Z', '2026-11-01T05:30Z', '2026-11-02T06:30Z'],
    ],
    [
      'every hour goes on in autumn',
      'America/New_York',
      '@hourly',
      '2026-11-01T04:30Z',
      ['2026-11-01T05:00Z', '2026-11-01T06:00Z', '2026-11-01T07:00Z'],
    ],
    // Midnight itself is left out, and an offset of half an hour changes.
    [
      'midnight left out comes at the change',
      'America/Sao_Paulo',
      '@daily',
      '2018-11-03T00:00Z',
      ['2018-11-03T03:00Z', '2018-11-04T03:00Z', '2018-11-05T02:00Z'],
    ],
    [
      'half an hour left out',
      'Australia/Lord_Howe',
      '15 2 * * *',
      '2026-10-02T00:00Z',
      ['2026-10-02T15:45Z', '2026-10-03T15:30Z', '2026-10-04T15:15Z'],
    ],
    [
      'half an hour that comes twice',
      'Australia/Lord_Howe',
      '45 1 * * *',
      '2026-04-03T12:00Z',
      ['2026-04-03T14:45Z', '2026-04-04T14:45Z', '2026-04-05T15:15Z'],
    ],
  ];
  it.each(rows)('%s (%s, %s)', (_name, timeZone, schedule, from, expected) => {
    expect(slots({ schedule, timeZone }, from, expected.length)).toEqual(expected);
  });

  const zones = fc.constantFrom('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'UTC');
  const instants = fc.integer({ min: Date.UTC(2020, 0, 1) / 1000, max: Date.UTC(2030, 0, 1) / 1000 });

  it('every instant is found again by its local time, or by the earlier one that shows it too', () => {
    fc.assert(
      fc.property(zones, instants, (name, seconds) => {
        const zone = new Zone(name);
        const local = zone.localOf(seconds * 1000);
        const instant = zone.instantOf(local);
        expect(instant).toBeLessThanOrEqual(seconds * 1000);
        expect(zone.localOf(instant)).toBe(local);
      }),
    );
  });

  it('a later local time is never an earlier instant', () => {
    fc.assert(
      fc.property(zones, instants, fc.nat(7200), (name, seconds, later) => {
        const zone = new Zone(name);
        expect(zone.instantOf((seconds + later) * 1000)).toBeGreaterThanOrEqual(zone.instantOf(seconds * 1000));
      }),
    );
  });

  it('the next slot is later, whatever the instant', () => {
    const schedules = fc.constantFrom('30 2 * * *', '*/7 * * * *', '15 */5 * * * *', '0 0 29 2 *', '@every 90s');
    fc.assert(
      fc.property(zones, schedules, instants, fc.nat(999), (timeZone, schedule, seconds, ms) => {
        const after = seconds * 1000 + ms;
        expect(createSchedule({ schedule, timeZone }).next(after)).toBeGreaterThan(after);
      }),
    );
  });
});

describe('a schedule', () => {
  it.each([
    ['@every 30s', '2026-01-01T00:00:10Z', ['2026-01-01T00:00:30.000Z', '2026-01-01T00:01Z']],
    ['@every 1h30m', '2026-01-01T00:00:10Z', ['2026-01-01T01:30Z', '2026-01-01T03:00Z']],
    ['*/20 * * * * *', '2026-01-01T00:00:10Z', ['2026-01-01T00:00:20.000Z', '2026-01-01T00:00:40.000Z']],
    ['0 9 * * MON-FRI', '2026-01-02T10:00Z', ['2026-01-05T09:00Z', '2026-01-06T09:00Z']],
    ['@weekly', '2026-01-01T00:00Z', ['2026-01-04T00:00Z', '2026-01-11T00:00Z']],
    ['0 0 29 2 *', '2026-01-01T00:00Z', ['2028-02-29T00:00Z', '2032-02-29T00:00Z']],
    ['0 12 L * *', '2026-01-01T00:00Z', ['2026-01-31T12:00Z', '2026-02-28T12:00Z']],
  ])('%s', (schedule, from, expected) => {
    expect(slots({ schedule, timeZone: 'UTC' }, from, 2)).toEqual(expected);
  });

  it('leaves out local dates', () => {
    const options = { schedule: '0 */12 * * *', timeZone: 'Asia/Tokyo', exclude: ['2026-12-25', '2026-12-26'] };
    expect(slots(options, '2026-12-24T00:00Z', 3)).toEqual([
      '2026-12-24T03:00Z',
      '2026-12-26T15:00Z',
      '2026-12-27T03:00Z',
    ]);
  });

  it('leaves out a day of seconds without counting them', () => {
    const options = { schedule: '* * * * * *', timeZone: 'Europe/Berlin', exclude: ['2026-03-29'] };
    expect(slots(options, '2026-03-28T22:59:59Z', 1)).toEqual(['2026-03-29T22:00Z']);
  });

  it('begins and ends when it should', () => {
    const options = {
      schedule: '@hourly',
      timeZone: 'UTC',
      startAt: Date.parse('2026-01-01T05:00Z'),
      endAt: Date.parse('2026-01-01T07:00Z'),
    };
    const expected = ['2026-01-01T05:00Z', '2026-01-01T06:00Z', '2026-01-01T07:00Z'];
    expect(slots(options, '2025-01-01T00:00Z', 9)).toEqual(expected);
  });

  it.each(['* * * * * *', '@hourly', '0 3 * * *', '@every 7s', '0 0 29 2 *'])('finds the last slot of %s', (text) => {
    const schedule = createSchedule({ schedule: text, timeZone: 'Europe/Berlin' });
    const until = Date.parse('2026-06-01T12:34:56Z');
    const last = schedule.last(Date.parse('2023-01-01T00:00Z'), until);
    expect(last).toBeLessThanOrEqual(until);
    expect(schedule.next(last ?? 0)).toBeGreaterThan(until);
    expect(schedule.last(until - 1, until - 1)).toBeUndefined();
  });

  it.each([
    '',
    '* * * *',
    '* * * * * * *',
    '61 * * * *',
    '* 25 * * *',
    '@every',
    '@every 5',
    '@every 10ms',
    '@reboot',
    '@sometimes',
    'every day',
    '2026-01-01T00:00:00',
    '0 0 30 2 *',
    '0 0 31 4,6 *',
    '0 0 * * 1#6',
  ])('%j is none', (text) => {
    expect(scheduleProblem(text)).toEqual(expect.any(String));
  });

  it.each(['* * * * *', '0 0 29 2 *', '@daily', '@every 30s', '0 0 * * SUN', '@DAILY', ' 1 2 3 4 5 '])(
    '%j is one',
    (text) => {
      expect(scheduleProblem(text)).toBeUndefined();
    },
  );

  it('is read without ending the process whatever it says', () => {
    const fields = fc.array(
      fc.constantFrom('*', '1', '61', '*/5', '1-3', 'L', 'W', '#', 'MON', '-', '/', ',', '1/2', '?'),
      {
        minLength: 3,
        maxLength: 7,
      },
    );
    const text = fc.oneof(
      fc.string(),
      fields.map((parts) => parts.join(' ')),
    );
    fc.assert(
      fc.property(text, (schedule) => {
        expect(['string', 'undefined']).toContain(typeof scheduleProblem(schedule));
      }),
    );
  });

  it('knows the zones', () => {
    expect(['UTC', 'Europe/Berlin', 'America/Argentina/Ushuaia'].every(isTimeZone)).toBe(true);
    expect(['Mars/Olympus', '', 'Europe'].some(isTimeZone)).toBe(false);
  });
});
