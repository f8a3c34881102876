import type { GroupMember, KafkaPartitions } from '../../plugins/connections/kafka/driver.ts';

/** What all members of the group have to go by. */
export const protocol = 'millrace-sticky';

/**
 * Shares all partitions out among those who want them, evenly; whoever has one keeps it where that allows it, so that what
 * runs there may go on.
 */
export function share(
  members: readonly GroupMember[],
  counts: ReadonlyMap<string, number>,
): ReadonlyMap<string, KafkaPartitions> {
  const shares = new Map(members.map(({ memberId }) => [memberId, new Map<string, number[]>()]));
  const wanted = new Map<string, Set<string>>();
  for (const { memberId, topics } of members) {
    for (const topic of topics) wanted.set(topic, (wanted.get(topic) ?? new Set()).add(memberId));
  }
  const free = new Set<string>();
  for (const topic of [...wanted.keys()].toSorted()) {
    for (let partition = 0; partition < (counts.get(topic) ?? 0); partition++) free.add(nameOf(topic, partition));
  }
  const loads = new Map(members.map(({ memberId }) => [memberId, 0]));
  const give = (memberId: string, topic: string, partition: number): void => {
    free.delete(nameOf(topic, partition));
    loads.set(memberId, (loads.get(memberId) ?? 0) + 1);
    const own = shares.get(memberId);
    own?.set(topic, [...(own.get(topic) ?? []), partition]);
  };
  const fair = Math.floor(free.size / members.length);
  let more = free.size % members.length;
  const sizeOf = ({ owned }: GroupMember): number => [...owned.values()].flat().length;
  for (const member of members.toSorted((a, b) => sizeOf(b) - sizeOf(a) || compare(a.memberId, b.memberId))) {
    const { memberId, owned } = member;
    const limit = more > 0 && sizeOf(member) > fair ? fair + 1 : fair;
    if (limit > fair) more--;
    for (const [topic, partitions] of owned) {
      for (const partition of partitions) {
        const mayKeep = (loads.get(memberId) ?? 0) < limit && free.has(nameOf(topic, partition));
        if (mayKeep && wanted.get(topic)?.has(memberId)) give(memberId, topic, partition);
      }
    }
  }
  for (const name of free) {
    const [topic = '', partition] = name.split(':');
    const [least] = [...(wanted.get(topic) ?? [])].toSorted(
      (a, b) => (loads.get(a) ?? 0) - (loads.get(b) ?? 0) || compare(a, b),
    );
    if (least !== undefined) give(least, topic, Number(partition));
  }
  return shares;
}

/** No name of a topic has a colon. */
function nameOf(topic: string, partition: number): string {
  return `${topic}:${partition}`;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
