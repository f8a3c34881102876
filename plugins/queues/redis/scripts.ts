import type { RedisScript } from '../../connections/redis/connection.ts';
import { luaDue, luaMessages } from './lua-messages.ts';
import { luaLetters, luaRecords } from './lua-records.ts';
import { luaPacking } from './lua-packing.ts';
import { luaFrees, luaState } from './lua-state.ts';

/** Bugs to plant, so that the contract suite can be seen to find them. */
export interface RedisFaults {
  readonly skipEpochCheck?: boolean | undefined;
}

const enqueue = `
local maxMessages, maxBytes, maxLane = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local given_all, ids, answers, i = {}, {}, {}, 8
while i <= #ARGV do
  local n
  n, i = given(i)
  given_all[#given_all + 1] = n
  ids[#ids + 1] = n.id
end
fetch(ids)
for _, n in ipairs(given_all) do
  local first = first_of(n)
  if first then
    answers[#answers + 1] = first
  else
    local l = lane(n.lane)
    local full = not n.dead and (meta.messages >= maxMessages or meta.bytes + #n.body > maxBytes
      or (maxLane and l.ready + l.blocked + l.delayed + l.leased >= maxLane))
    if full then
      answers[#answers + 1] = 1
    else
      accept(n)
      answers[#answers + 1] = 0
    end
  end
end
save()
return answers
`;

const take = `
local function take(name, max, ttl)
  local l, answer, left, bytes = lane(name), { meta.epoch }, max, 0
  -- One table for all of them: each is packed at once.
  local lease = { epoch = meta.epoch, started = now, deadline = soon + ttl, lane = name }
  -- A round that met only what has expired is followed by another one, but not without end.
  for _ = 1, 8 do
    if l.paused == 1 or l.ready == 0 or left == 0 or bytes >= 33554432 then break end
    -- What is read below is the messages as they are kept.
    flush()
    local members = call('ZRANGE', P .. 'ready:' .. name, 0, left - 1)
    if #members == 0 then break end
    local ids, keys, seen = ids_of(members), {}, 0
    for i, id in ipairs(ids) do keys[i] = P .. 'm:' .. id end
    for i, packed in ipairs(call('MGET', unpack(keys))) do
      if bytes >= 33554432 then break end
      seen = i
      local id = ids[i]
      if packed then
        read_ready(packed, lease)
        if lease.expires >= 0 and lease.expires <= now then
          finish(load(id), 'expired', 'expired')
        else
          l.ready = l.ready - 1
          l.leased = l.leased + 1
          lease.attempt = lease.attempt + 1
          hold(id, lease)
          if lease.expires >= 0 then place('expiring', members[i], false) end
          if not lease.small then packed = packed .. (call('GET', P .. 'b:' .. id) or '') end
          bytes = bytes + lease.bytes
          left = left - 1
          answer[#answer + 1] = id
          answer[#answer + 1] = packed
        end
      end
    end
    call('ZREMRANGEBYRANK', P .. 'ready:' .. name, 0, seen - 1)
  end
  return answer
end
`;

const extend = `
local ids, answers = {}, {}
for i = 5, #ARGV, 3 do ids[#ids + 1] = ARGV[i] end
fetch_leases(ids)
for i = 5, #ARGV, 3 do
  local id, ttl = ARGV[i], tonumber(ARGV[i + 2])
  local lease = held(id, tonumber(ARGV[i + 1]))
  answers[#answers + 1] = lease and 1 or 0
  if lease then
    lease.deadline = soon + ttl
    hold(id, lease)
    -- An extension by nothing ends the lease.
    if lease.deadline <= now then lapse(load(id)) end
  end
end
save()
return answers
`;

const settle = `
local function settle_at(i)
  local id, kind, error, effects = ARGV[i], ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 6])
  local lease = held(id, tonumber(ARGV[i + 2]))
  local result = ARGV[i + 5] ~= '' and ARGV[i + 5] or nil
  local is_usual = lease and lease.plain and kind == 'ack'
  local m = lease and not is_usual and load(id)
  if not lease then
    local l = lane(ARGV[i + 1])
    if l.known then l.stale = l.stale + 1 end
  elseif is_usual then
    succeed(id, lease, result)
  elseif kind == 'ack' then
    finish(m, 'succeeded', nil, result)
  elseif kind == 'cancelled' then
    finish(m, 'cancelled')
  elseif string.sub(kind, 1, 5) == 'dead ' then
    fail(m, error)
    finish(m, 'dead', string.sub(kind, 6), result)
  else
    local delay, counted = string.match(kind, '^retry (%d+) (%d)$')
    if error ~= '' then fail(m, error) end
    if counted == '0' then m.attempt = m.attempt - 1 end
    if m.cancel then
      finish(m, 'cancelled')
    else
      if counted == '1' then
        local l = lane(m.lane)
        l.retried = l.retried + 1
      end
      again(m, tonumber(delay))
    end
  end
  i = i + 7
  for _ = 1, effects do
    local n
    n, i = given(i)
    if lease and not first_of(n) then accept(n) end
  end
  return i, lease and 1 or 0
end
`;

/** ARGV[5]: how many settlements there are; they come first, so that the leases behind them get what they set free. */
const work = `
local ids, answers, i = {}, {}, 6
for _ = 1, tonumber(ARGV[5]) do
  ids[#ids + 1] = ARGV[i]
  i = i + 7 + 13 * tonumber(ARGV[i + 6])
end
fetch_leases(ids)
-- Most ends need no more than the lease; what others need is read together.
local unusual = {}
for _, id in ipairs(ids) do
  if lease_of[id] and not lease_of[id].plain then unusual[#unusual + 1] = id end
end
fetch(unusual)
i = 6
for _ = 1, #ids do
  i, answers[#answers + 1] = settle_at(i)
end
if i <= #ARGV then meta.epoch = meta.epoch + 1 end
for at = i, #ARGV, 3 do
  answers[#answers + 1] = take(ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]))
end
save()
return answers
`;

const cancel = `
fetch_leased({ ARGV[5] })
local m, answer = load(ARGV[5]), 'cancelled'
if not m then
  answer = 'unknown'
elseif m.finished then
  answer = 'finished'
elseif m.state == 'leased' then
  m.cancel = true
  keep(m)
  answer = 'running'
else
  finish(m, 'cancelled')
end
save()
return answer
`;

const pause = `
local l = lane(ARGV[5])
l.paused = tonumber(ARGV[6])
if l.paused == 0 and l.ready > 0 then woken[#woken + 1] = l.name end
save()
`;

/** Does what is due, forgets letters that are too old, and says what of the given lanes and ids there is to know. */
const tick = `
local oldest = call('ZRANGE', P .. 'letters', 0, 19)
fetch(oldest)
for _, id in ipairs(oldest) do
  local m = load(id)
  if m and m.finished + retention > now then break end
  if m then
    remove_letter(m)
  else
    call('ZREM', P .. 'letters', id)
    meta.letters = meta.letters - 1
  end
end
local work, known, i = {}, {}, 6
for _ = 1, tonumber(ARGV[5]) do
  local l = lane(ARGV[i])
  if l.ready > 0 and l.paused == 0 then work[#work + 1] = l.name end
  i = i + 1
end
while i <= #ARGV do
  local m = load(ARGV[i])
  if not m or m.finished then known[#known + 1] = ARGV[i] end
  i = i + 1
end
settle_positions()
-- Up to 128 short members Redis keeps as a list, and looks through it for each that comes: a tenth of a script. One long
-- member, whose time never comes, keeps it from that.
call('ZADD', P .. 'leased', 'NX', 'inf', string.rep('-', 65))
local wait_ms = -1
for _, set in ipairs({ 'leased', 'expiring', 'delayed' }) do
  local first = tonumber(call('ZRANGE', P .. set, 0, 0, 'WITHSCORES')[2])
  if first and first < math.huge and (wait_ms < 0 or first - now < wait_ms) then wait_ms = math.max(0, first - now) end
end
save()
return { behind and 0 or wait_ms, work, known, meta.letters }
`;

/** One Lua text an operation. Each does first what is due by its time, so that every operation sees it as done. */
// oxlint-disable-next-line typescript/explicit-module-boundary-types
export function createScripts(faults: RedisFaults = {}) {
  const begin = luaPacking + luaState + luaMessages(faults);
  const frees = luaPacking + luaState + luaFrees + luaMessages(faults) + luaDue;
  const script = (text: string): RedisScript => ({ text });
  return {
    enqueue: script(begin + luaDue + enqueue),
    extend: script(frees + extend),
    work: script(frees + take + settle + work),
    cancel: script(frees + cancel),
    pause: script(frees + pause),
    tick: script(frees + tick),
    find: script(frees + luaRecords.describe + luaRecords.find),
    lanes: script(frees + luaRecords.lanes),
    letters: script(frees + luaRecords.describe + luaLetters.rows + luaLetters.list),
    letter: script(frees + luaRecords.describe + luaLetters.get),
    body: script(frees + luaLetters.body),
    replay: script(frees + luaLetters.replay),
    purge: script(frees + luaLetters.rows + luaLetters.purge),
  };
}
