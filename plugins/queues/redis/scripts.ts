import type { RedisScript } from '../../connections/redis/connection.ts';
import { luaDue, luaMessages } from './lua-messages.ts';
import { luaLetters, luaRecords } from './lua-records.ts';
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

const lease = `
local function take(name, max, ttl)
  local l, taken, leases, bytes = lane(name), {}, {}, 0
  -- A round that met only what has expired is followed by another one, but not without end.
  for _ = 1, 8 do
    if l.paused == 1 or l.ready == 0 or #taken >= max or bytes >= 33554432 then break end
    settle_positions()
    local members = call('ZRANGE', P .. 'ready:' .. name, 0, max - #taken - 1)
    local ids = ids_of(members)
    fetch(ids)
    for i, member in ipairs(members) do
      if bytes >= 33554432 then break end
      local m = load(ids[i])
      if not m then
        place('ready:' .. name, member, false)
      elseif m.expires and m.expires <= now then
        finish(m, 'expired', 'expired')
      else
        leave(m, l)
        m.state, m.attempt, m.epoch = 'leased', m.attempt + 1, m.epoch + 1
        m.started, m.deadline = now, soon + ttl
        place('leased', member, m.deadline)
        if m.expires then place('expiring', member, false) end
        l.leased = l.leased + 1
        keep(m)
        bytes = bytes + m.bytes
        taken[#taken + 1] = m
      end
    end
  end
  if #taken == 0 then return leases end
  local keys = {}
  for _, m in ipairs(taken) do
    keys[#keys + 1] = P .. 'b:' .. m.id
  end
  local found = call('MGET', unpack(keys))
  for i, m in ipairs(taken) do
    leases[i] = { m.id, m.epoch, m.attempt, m.text, found[i] or '' }
  end
  return leases
end
local answers = {}
for i = 5, #ARGV, 3 do
  answers[#answers + 1] = take(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]))
end
save()
return answers
`;

const extend = `
local answers = {}
for i = 5, #ARGV, 3 do
  local m, ttl = held(ARGV[i], tonumber(ARGV[i + 1])), tonumber(ARGV[i + 2])
  answers[#answers + 1] = m and 1 or 0
  if m then
    m.deadline = soon + ttl
    place('leased', m.member, m.deadline)
    keep(m)
    -- An extension by nothing ends the lease.
    if m.deadline <= now then lapse(m) end
  end
end
save()
return answers
`;

const settle = `
local function settle_at(i)
  local name, kind, effects = ARGV[i + 1], ARGV[i + 3], tonumber(ARGV[i + 11])
  local m = held(ARGV[i], tonumber(ARGV[i + 2]))
  local result
  if ARGV[i + 8] ~= '' then result = { tonumber(ARGV[i + 8]), ARGV[i + 9], ARGV[i + 10] } end
  if not m then
    local l = lane(name)
    if l.known then l.stale = l.stale + 1 end
  elseif kind == 'ack' then
    finish(m, 'succeeded', nil, result)
  elseif kind == 'dead' then
    fail(m, ARGV[i + 7])
    finish(m, 'dead', ARGV[i + 6], result)
  elseif kind == 'cancelled' then
    finish(m, 'cancelled')
  else
    local counted = ARGV[i + 5] == '1'
    if ARGV[i + 7] ~= '' then fail(m, ARGV[i + 7]) end
    if not counted then m.attempt = m.attempt - 1 end
    if m.cancel then
      finish(m, 'cancelled')
    else
      if counted then
        local l = lane(m.lane)
        l.retried = l.retried + 1
      end
      again(m, tonumber(ARGV[i + 4]))
    end
  end
  i = i + 12
  for _ = 1, effects do
    local n
    n, i = given(i)
    if m and not first_of(n) then accept(n) end
  end
  return i, m and 1 or 0
end
local ids, answers, i = {}, {}, 5
while i <= #ARGV do
  ids[#ids + 1] = ARGV[i]
  i = i + 12 + 13 * tonumber(ARGV[i + 11])
end
fetch(ids)
i = 5
while i <= #ARGV do
  i, answers[#answers + 1] = settle_at(i)
end
save()
return answers
`;

const cancel = `
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
local wait_ms = -1
for _, set in ipairs({ 'leased', 'expiring', 'delayed' }) do
  local first = tonumber(call('ZRANGE', P .. set, 0, 0, 'WITHSCORES')[2])
  if first and (wait_ms < 0 or first - now < wait_ms) then wait_ms = math.max(0, first - now) end
end
save()
return { behind and 0 or wait_ms, work, known, meta.letters }
`;

/** One Lua text an operation. Each does first what is due by its time, so that every operation sees it as done. */
// oxlint-disable-next-line typescript/explicit-module-boundary-types
export function createScripts(faults: RedisFaults = {}) {
  const begin = luaState + luaMessages(faults);
  const frees = luaState + luaFrees + luaMessages(faults) + luaDue;
  const script = (text: string): RedisScript => ({ text });
  return {
    enqueue: script(begin + luaDue + enqueue),
    lease: script(frees + lease),
    extend: script(frees + extend),
    settle: script(frees + settle),
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
