/** From acceptance to the end of each message, as functions of the scripts. */
export function luaMessages({
  skipEpochCheck = false,
}: { readonly skipEpochCheck?: boolean | undefined } = {}): string {
  return `
local function load(id)
  local packed = call('GET', P .. 'm:' .. id)
  if not packed then return nil end
  local m = cmsgpack.unpack(packed)
  if m.gone and m.gone <= now then return nil end
  m.id = id
  return m
end

local function pack(m)
  local id = m.id
  m.id = nil
  local packed = cmsgpack.pack(m)
  m.id = id
  return packed
end

local function keep(m) call('SET', P .. 'm:' .. m.id, pack(m)) end

local function line_of(m) return P .. 'line:' .. #m.lane .. ':' .. m.lane .. m.key end

-- Ready now, or when its time has come.
local function wait(m, l)
  if m.due > now then
    m.state = 'delayed'
    call('ZADD', P .. 'delayed', m.due, m.member)
  else
    m.state = 'ready'
    call('ZADD', P .. 'ready:' .. m.lane, m.rank, m.member)
    call('ZADD', P .. 'since:' .. m.lane, m.due, m.member)
  end
  l[m.state] = l[m.state] + 1
end

-- Out of where it waits or is leased.
local function leave(m, l)
  l[m.state] = l[m.state] - 1
  if m.state == 'ready' then
    call('ZREM', P .. 'ready:' .. m.lane, m.member)
    call('ZREM', P .. 'since:' .. m.lane, m.member)
  elseif m.state ~= 'blocked' then
    call('ZREM', P .. m.state, m.member)
  end
end

-- Keeps it, whatever the limits say.
local function accept(n)
  local l = lane(n.lane)
  meta.seq = meta.seq + 1
  local due = n.delay > 0 and soon + n.delay or now
  local m = {
    id = n.id, lane = n.lane, member = string.format('%016.0f', meta.seq) .. n.id, key = n.key,
    due = due, rank = due - n.priority * aging, attempt = 0, epoch = 0, max = n.max, bytes = #n.body, ttl = n.ttl,
    expires = n.age and soon + n.age,
  }
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
  if m.expires then call('ZADD', P .. 'expiring', m.expires, m.member) end
  if m.bytes > 0 then
    call('MSET', P .. 'm:' .. m.id, pack(m), P .. 't:' .. m.id, n.text, P .. 'b:' .. m.id, n.body)
  else
    call('MSET', P .. 'm:' .. m.id, pack(m), P .. 't:' .. m.id, n.text)
  end
  if n.dedup and n.window > 0 then
    call('SET', P .. n.dedup, string.format('%.0f', soon + n.window) .. ' ' .. m.id, 'PX', n.window)
  end
  l.accepted = l.accepted + 1
  l.bytes = l.bytes + m.bytes
  meta.messages = meta.messages + 1
  meta.bytes = meta.bytes + m.bytes
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
  return n, i + 12
end

-- The last step of every message, whatever became of it. Lets the next one of its order key go.
local function finish(m, as, reason, result)
  local l = lane(m.lane)
  if m.expires and m.state ~= 'leased' then call('ZREM', P .. 'expiring', m.member) end
  leave(m, l)
  m.state, m.reason, m.finished, m.deadline = as, reason, now, nil
  m.fresh = soon + m.ttl
  m.gone = soon + (reason and math.max(m.ttl, retention) or m.ttl) + tombstones
  if reason then
    meta.letter = meta.letter + 1
    m.letter = meta.letter
    meta.letters = meta.letters + 1
    l.letters = l.letters + 1
  end
  local lifetime = math.max(1, m.gone - now)
  call('SET', P .. 'm:' .. m.id, pack(m), 'PX', lifetime)
  call('PEXPIRE', P .. 't:' .. m.id, lifetime)
  if m.errors then call('PEXPIRE', P .. 'e:' .. m.id, lifetime) end
  if reason then
    call('ZADD', P .. 'letters', m.letter, m.id)
    if m.bytes > 0 then call('PEXPIRE', P .. 'b:' .. m.id, lifetime) end
  elseif m.bytes > 0 then
    call('UNLINK', P .. 'b:' .. m.id)
  end
  if result then call('SET', P .. 'r:' .. m.id, cmsgpack.pack(result), 'PX', math.max(1, m.ttl)) end
  l[as] = l[as] + 1
  l.bytes = l.bytes - m.bytes
  meta.messages = meta.messages - 1
  meta.bytes = meta.bytes - m.bytes
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

local function fail(m, error)
  m.errors = (m.errors or 0) + 1
  call('RPUSH', P .. 'e:' .. m.id, m.attempt .. ' ' .. string.format('%.0f', now) .. ' ' .. error)
end

local function again(m, delay)
  local due = delay > 0 and soon + delay or now
  if m.expires and due >= m.expires then return finish(m, 'expired', 'expired') end
  local l = lane(m.lane)
  leave(m, l)
  m.due, m.deadline = due, nil
  wait(m, l)
  if m.expires then call('ZADD', P .. 'expiring', m.expires, m.member) end
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

-- The message of a lease that still holds.
local function held(id, epoch)
  local m = load(id)
  if m and m.state == 'leased' and ${skipEpochCheck ? 'true' : 'm.epoch == epoch and m.deadline > now'} then return m end
end

local function remove_letter(m)
  call('ZREM', P .. 'letters', m.id)
  if m.bytes > 0 then call('UNLINK', P .. 'b:' .. m.id) end
  m.letter = nil
  call('SET', P .. 'm:' .. m.id, pack(m), 'KEEPTTL')
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
  local members = call('ZRANGEBYSCORE', P .. set, '-inf', now, 'LIMIT', 0, 100)
  for _, member in ipairs(members) do
    local m = load(string.sub(member, 17))
    if m then handle(m) else call('ZREM', P .. set, member) end
  end
  behind = behind or #members == 100
end
due('leased', lapse)
due('expiring', function(m) finish(m, 'expired', 'expired') end)
due('delayed', promote)
`;
