import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Place } from '../../plugins/queues/kafka/place.ts';

const nothing = new Uint8Array();

describe('the place of a reader of Kafka', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
  afterEach(() => void vi.useRealTimers());

  function written(...offsets: readonly number[]): Place {
    const place = new Place();
    for (const offset of offsets) place.wrote({ offset, timestamp: 1 }, nothing, 0);
    return place;
  }

  it('lets it rest for a moment after an own entry, where that is the last one that it has read', () => {
    const place = written(0, 1);
    expect(place.restMs(2)).toBeGreaterThan(0);
    expect(place.restMs(1)).toBe(0);
    vi.advanceTimersByTime(100);
    expect(place.restMs(2)).toBeLessThanOrEqual(0);
  });

  it('lets it not rest while others write, too', () => {
    const place = written(0, 2, 3);
    expect(place.restMs(4)).toBe(0);
    vi.advanceTimersByTime(2000);
    place.wrote({ offset: 4, timestamp: 1 }, nothing, 0);
    expect(place.restMs(5)).toBeGreaterThan(0);
  });

  it('tells of an own entry only with the time of the broker, and of no topic that may be another one', () => {
    const place = new Place();
    const told: unknown[] = [];
    place.listen((record) => told.push(record));
    place.wrote({ offset: 3, timestamp: undefined }, nothing, 3);
    expect(told).toEqual([]);
    place.wrote({ offset: 4, timestamp: 7 }, nothing, 4);
    expect(told).toEqual([{ offset: 4, timestamp: 7, value: nothing, mark: false }]);
    place.wrote({ offset: 2, timestamp: 8 }, nothing, 5);
    expect(place.doubtful).toBe(true);
    expect(place.restMs(3)).toBe(0);
    place.wrote({ offset: 5, timestamp: 9 }, nothing, 5);
    expect(told).toHaveLength(1);
  });
});
