import { smallBody } from './lua-packing.ts';

/** From acceptance to the end of each message, as functions of the scripts. */
export function luaMessages({
  skipEpochCheck = false,
}: { readonly skipEpochCheck?: boolean | undefined } = {}): string {
  return `
-- Reads them together, where that has not been done. They are unpacked when they are first looked at.
local function fetch(ids)
  local keys, wanted = {}, {}
  for _, id in ipairs(ids) do
    if messages[id] == nil then
      messages[id] = false
      wanted[#wanted + 1] = id
      keys[#keys + 1] = P .. 'm:' .. id
    end
  end
  for from = 1, #keys, 1000 do
    local found = call('MGET', unpack(keys, from, math.min(from + 999, #keys)))
    for i, packed in ipairs(found) do messages[wanted[from + i - 1]] = packed end
  end
end

local function apply(lease, m)
  m.state, m.attempt, m.started = 'leased', lease.attempt, lease.started
end

-- From now on its lease is that one, or none.
local function hold(id, lease)
  lease_of[id] = lease or false
  leases[id] = lease and pack_lease(lease) or false
  place('leased', id, lease and text_of_number(lease.deadline) or false)
end

-- What is known of their leases.
local function fetch_leases(ids)
  local wanted = {}
  for _, id in ipairs(ids) do
    if messages[id] ~= false and lease_of[id] == nil then
      lease_of[id] = false
      wanted[#wanted + 1] = id
    end
  end
  for from = 1, #wanted, 1000 do
    local found = call('HMGET', P .. 'leases', unpack(wanted, from, math.min(from + 999, #wanted)))
    for i, packed in ipairs(found) do
      if packed then
        local id, lease = wanted[from + i - 1], unpack_lease(packed)
        lease_of[id] = lease
        local m = messages[id]
        if type(m) == 'table' and m.state == 'ready' then apply(lease, m) end
      end
    end
  end
end

local function fetch_leased(ids)
  fetch(ids)
  fetch_leases(ids)
end

local function load(id)
  if messages[id] == nil then fetch({ id }) end
  local m = messages[id]
  if type(m) == 'string' then
    m = unpack_message(id, m)
    messages[id] = m
    if lease_of[id] then apply(lease_of[id], m) end
  end
  if not m or (m.gone and m.gone <= now) then return nil end
  return m
end

local function keep(m)
  changed[m.id] = m
  -- Its end is not the usual one any more.
  local lease = m.state == 'leased' and lease_of[m.id]
  if lease and lease.plain then
    lease.plain = false
    hold(m.id, lease)
  end
end

local function ids_of(members)
  local ids = {}
  for i, member in ipairs(members) do ids[i] = string.sub(member, 17) end
  return ids
end

local function line_of(m) return P .. 'line:' .. #m.lane .. ':' .. m.lane .. m.key end

-- Ready now, or when its time has come.
local function wait(m, l)
  if m.due > now then
    m.state = 'delayed'
    place('delayed', m.member, m.due)
  else
    m.state = 'ready'
    place('ready:' .. m.lane, m.member, m.rank)
  end
  l[m.state] = l[m.state] + 1
end

-- Out of where it waits or is leased.
local function leave(m, l)
  l[m.state] = l[m.state] - 1
  if m.state == 'leased' then
    hold(m.id, nil)
  elseif m.state == 'ready' then
    place('ready:' .. m.lane, m.member, false)
  elseif m.state ~= 'blocked' then
    place(m.state, m.member, false)
  end
end

local finish, fail

-- Keeps it, whatever the limits say.
local function accept(n)
  local l = lane(n.lane)
  meta.seq = meta.seq + 1
  local due = n.delay > 0 and soon + n.delay or now
  local number = string.format('%016.0f', meta.seq)
  local m = {
    id = n.id, lane = n.lane, number = number, member = number .. n.id, key = n.key, due = due, rank = due - n.priority * aging,
    attempt = n.attempt or 0, errors = 0, max = n.max, bytes = #n.body, ttl = n.ttl, expires = n.age and soon + n.age,
  }
  m.lasting = pack_lasting(m, n.text)
  if #n.body <= ${smallBody} then m.body = n.body end
  local blocked = false
  if m.key then
    blocked = call('EXISTS', line_of(m)) == 1
    call('ZADD', line_of(m), meta.seq, m.member)
  end
  if blocked then
    m.state = 'blocked'
    l.blocked = l.blocked + 1
  else
    wait(m, l)
  end
  if m.expires then place('expiring', m.member, m.expires) end
  messages[m.id] = m
  keep(m)
  if not m.body then
    values[#values + 1] = P .. 'b:' .. m.id
    values[#values + 1] = n.body
  end
  if n.dedup and n.window > 0 then
    call('SET', P .. n.dedup, string.format('%.0f', soon + n.window) .. ' ' .. m.id, 'PX', n.window)
  end
  l.accepted = l.accepted + 1
  l.bytes = l.bytes + m.bytes
  meta.messages = meta.messages + 1
  meta.bytes = meta.bytes + m.bytes
  if n.attempt then fail(m, n.error) end
  if n.dead then finish(m, 'dead', n.dead) end
end

-- The id of the message that n is a duplicate of.
local function first_of(n)
  if load(n.id) then return n.id end
  local first = n.dedup and call('GET', P .. n.dedup)
  if not first then return nil end
  local space = string.find(first, ' ', 1, true)
  return tonumber(string.sub(first, 1, space - 1)) > now and string.sub(first, space + 1) or nil
end

-- A new message out of ARGV, and where the next argument is.
local function given(i)
  local n = {
    id = ARGV[i], lane = ARGV[i + 1], text = ARGV[i + 2], body = ARGV[i + 3], priority = tonumber(ARGV[i + 4]),
    max = tonumber(ARGV[i + 5]), window = tonumber(ARGV[i + 8]), delay = tonumber(ARGV[i + 9]),
    age = tonumber(ARGV[i + 10]), ttl = tonumber(ARGV[i + 11]),
  }
  if ARGV[i + 6] ~= '' then n.key = string.sub(ARGV[i + 6], 2) end
  if ARGV[i + 7] ~= '' then n.dedup = 'dedup:' .. #n.lane .. ':' .. n.lane .. string.sub(ARGV[i + 7], 2) end
  if ARGV[i + 12] ~= '' then
    local attempt, dead, error = string.match(ARGV[i + 12], '^(%d+) (%S+) (.*)$')
    n.attempt, n.error = tonumber(attempt), error
    if dead ~= '-' then n.dead = dead end
  end
  return n, i + 13
end

local function body_of(m) return m.body or call('GET', P .. 'b:' .. m.id) or '' end

local function drop_body(m)
  if not m.body then bodies[#bodies + 1] = P .. 'b:' .. m.id end
  m.body = nil
end

-- A small result is part of the message; a big one is not kept for longer than it can be asked for.
local function kept_result(id, result, ttl)
  if #result <= 256 then return result end
  call('SET', P .. 'r:' .. id, result, 'PX', math.max(1, ttl))
  return ''
end

local function count_end(l, as, bytes)
  l[as] = l[as] + 1
  l.bytes = l.bytes - bytes
  meta.messages = meta.messages - 1
  meta.bytes = meta.bytes - bytes
end

-- The last step of every message, whatever became of it. Lets the next one of its order key go.
function finish(m, as, reason, result)
  local l = lane(m.lane)
  if m.expires and m.state ~= 'leased' then place('expiring', m.member, false) end
  leave(m, l)
  m.state, m.reason, m.finished = as, reason, now
  m.fresh = soon + m.ttl
  m.gone = soon + (reason and math.max(m.ttl, retention) or m.ttl) + tombstones
  if reason then
    meta.letter = meta.letter + 1
    m.letter = meta.letter
    meta.letters = meta.letters + 1
    l.letters = l.letters + 1
  end
  m.ended_now = true
  keep(m)
  if reason then call('ZADD', P .. 'letters', m.letter, m.id) else drop_body(m) end
  m.result = result and kept_result(m.id, result, m.ttl)
  count_end(l, as, m.bytes)
  if m.watched then ended[#ended + 1] = m.id end
  if not m.key then return end
  call('ZREM', line_of(m), m.member)
  local head = call('ZRANGE', line_of(m), 0, 0)[1]
  local next_one = head and load(string.sub(head, 17))
  if next_one and next_one.state == 'blocked' then
    leave(next_one, l)
    wait(next_one, l)
    keep(next_one)
  end
end

function fail(m, error)
  m.errors = m.errors + 1
  call('RPUSH', P .. 'e:' .. m.id, m.attempt .. ' ' .. string.format('%.0f', now) .. ' ' .. error)
end

local function again(m, delay)
  local due = delay > 0 and soon + delay or now
  if m.expires and due >= m.expires then return finish(m, 'expired', 'expired') end
  local l = lane(m.lane)
  leave(m, l)
  m.due = due
  wait(m, l)
  if m.expires then place('expiring', m.member, m.expires) end
  keep(m)
end

-- The lease ran out: whoever had it is taken for dead. The attempt has been counted already.
local function lapse(m)
  fail(m, '{"code":"function.crashed","message":"the lease ran out before the attempt had ended"}')
  if m.cancel then return finish(m, 'cancelled') end
  if m.attempt >= m.max then return finish(m, 'dead', 'crashed') end
  again(m, 0)
end

local function promote(m)
  local l = lane(m.lane)
  leave(m, l)
  wait(m, l)
  keep(m)
end

-- The lease, if it still holds.
local function held(id, epoch)
  local lease = lease_of[id]
  if lease and ${skipEpochCheck ? 'true' : 'lease.epoch == epoch and lease.deadline > now'} then return lease end
end

-- What finish does with 'succeeded', for a message of which no more is to be known than its lease says.
local function succeed(id, lease, result)
  local l = lane(lease.lane)
  l.leased = l.leased - 1
  hold(id, nil)
  messages[id] = nil
  if not lease.small then bodies[#bodies + 1] = P .. 'b:' .. id end
  local fresh = soon + lease.ttl
  local gone = fresh + tombstones
  local key = P .. 'm:' .. id
  local packed = pack_changing('succeeded', 0, lease.attempt, lease.started, 0, lease.due)
    .. pack_ending(now, fresh, gone, -1, '', result and kept_result(id, result, lease.ttl) or '')
  call('SETRANGE', key, lease.at - 1, packed)
  call('PEXPIREAT', key, until_gone(gone))
  count_end(l, 'succeeded', lease.bytes)
end

local function remove_letter(m)
  call('ZREM', P .. 'letters', m.id)
  drop_body(m)
  m.letter = nil
  keep(m)
  local l = lane(m.lane)
  l.letters = l.letters - 1
  meta.letters = meta.letters - 1
end
`;
}

/** At most so much of each kind in one script, which must stay short; \`behind\` says that there is more. */
export const luaDue = `
local behind = false
local function due(set, handle)
  settle_positions()
  local members = call('ZRANGEBYSCORE', P .. set, '-inf', now, 'LIMIT', 0, 100)
  local ids = set == 'leased' and members or ids_of(members)
  local look = set == 'leased' and fetch_leased or fetch
  look(ids)
  for i, id in ipairs(ids) do
    local m = load(id)
    if m then
      handle(m)
    else
      place(set, members[i], false)
      if set == 'leased' then leases[id] = false end
    end
  end
  behind = behind or #members == 100
end
due('leased', lapse)
due('expiring', function(m) finish(m, 'expired', 'expired') end)
due('delayed', promote)
`;
