import type { RedisScript } from '../../plugins/connections/redis/connection.ts';

/**
 * Takes over pending entries: those that nobody has said anything of for so long, and, if `mine`, those that this consumer
 * has and the caller does not know of. Arguments: group, consumer, least idle ms or -1, how many at most, `mine` or ``,
 * from which id, then the ids that the caller has. By pages, since a group may have more pending than one call may look
 * at. Answers with the id to go on from or ``, with id, delivery count and fields of each, and with the ids of those that
 * are no longer in the stream. These are pending no longer.
 *
 * Not XAUTOCLAIM: that also drops deleted entries that another gateway is at work on, and tells no delivery count.
 */
export const takeOver: RedisScript = {
  text: `
local key, group, me = KEYS[1], ARGV[1], ARGV[2]
local idle, most, mine = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == 'mine'
local held = {}
for at = 7, #ARGV do held[ARGV[at]] = true end
local page = 256
local from = ARGV[6] == '' and '-' or '(' .. ARGV[6]
local rows = redis.call('XPENDING', key, group, from, '+', page)
local entries, deleted, last = {}, {}, ''
for _, row in ipairs(rows) do
  local id = row[1]
  if not held[id] and ((mine and row[2] == me) or (idle >= 0 and row[3] >= idle)) then
    if #entries == most then return {last, entries, deleted} end
    local entry = redis.call('XCLAIM', key, group, me, 0, id)[1]
    if entry then
      entries[#entries + 1] = {id, row[4] + 1, entry[2]}
    else
      redis.call('XACK', key, group, id)
      deleted[#deleted + 1] = id
    end
  end
  last = id
end
return {#rows == page and last or '', entries, deleted}
`,
};

/**
 * Says something of entries that this consumer was given, as far as they are still its own: pending with it, and given as
 * often as it knows of. Arguments: group, consumer, what (`ack`, `keep` or `release`), ms, then id and delivery count of
 * each. Answers for each: 1 it was so; 0 another one has it; 2 it is pending
 * with nobody; 3 it is pending under this name, but has been given once more.
 */
export const sayOf: RedisScript = {
  text: `
local key, group, me, what, ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local answers = {}
for at = 5, #ARGV, 2 do
  local id, count = ARGV[at], tonumber(ARGV[at + 1])
  local row = redis.call('XPENDING', key, group, id, id, 1)[1]
  if not row then
    answers[#answers + 1] = 2
  elseif row[2] ~= me then
    answers[#answers + 1] = 0
  elseif row[4] ~= count then
    answers[#answers + 1] = 3
  else
    answers[#answers + 1] = 1
    if what == 'ack' then
      redis.call('XACK', key, group, id)
    elseif what == 'keep' then
      redis.call('XCLAIM', key, group, me, 0, id, 'JUSTID')
    else
      redis.call('XCLAIM', key, group, me, 0, id, 'IDLE', ms, 'RETRYCOUNT', count - 1, 'JUSTID')
    end
  end
end
return answers
`,
};

/** Takes the consumer off the group, unless something is pending with it: that would be forgotten. Arguments: group, consumer. */
export const leaveGroup: RedisScript = {
  text: `
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return #pending
`,
};
