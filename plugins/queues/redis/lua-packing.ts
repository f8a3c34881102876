/**
 * Bodies of so many bytes at most are part of their message, and stay there as long as that: a key of their own would cost
 * more than they do.
 */
export const smallBody = 512;

/**
 * A message as it is kept: what lasts, its text, what changes, and then a small body or, once it has finished, its end. The
 * usual end is written over the body without reading any of it: Redis hashes each byte of every string that Lua is given.
 * Numbers are those of `struct`; -1 stands for what a message has not.
 */
export const luaPacking = `
-- Where what changes begins, expiry, bytes of the body, life of the result, most attempts, rank, number (in order of
-- arrival), lane, order key. \`packing.ts\` reads it as well.
local lasting = '>I4dddddc16I4c0I4c0'
-- State, flags, attempt, start of the last one, errors, due.
local changing = '>BBdddd'
-- Finished, the result is fresh until, gone, number of the letter, reason, result.
local ending = '>ddddI4c0I4c0'

local states = { 'ready', 'blocked', 'delayed', 'succeeded', 'dead', 'expired', 'cancelled' }
local codes = { leased = 1 }
for code, state in ipairs(states) do codes[state] = code end
local has_key, is_watched, is_cancelled, has_small_body = 1, 2, 4, 8
local function has(flags, flag) return flags % (flag * 2) >= flag end

local function known(number)
  if number >= 0 then return number end
end

-- What lasts of a new message, with its text.
local function pack_lasting(m, text)
  local key = m.key or ''
  local at = struct.size('>I4dddddc16I4I4') + #m.lane + #key + #text + 1
  return struct.pack(lasting, at, m.expires or -1, m.bytes, m.ttl, m.max, m.rank, m.number, #m.lane, m.lane, #key, key) .. text
end

local function pack_changing(state, flags, attempt, started, errors, due)
  return struct.pack(changing, codes[state], flags, attempt, started, errors, due)
end

local function pack_ending(finished, fresh, gone, letter, reason, result)
  return struct.pack(ending, finished, fresh, gone, letter, #reason, reason, #result, result)
end

local function pack(m)
  local flags = (m.key and has_key or 0) + (m.watched and is_watched or 0) + (m.cancel and is_cancelled or 0)
    + (m.body and has_small_body or 0)
  local changes = pack_changing(m.state, flags, m.attempt, m.started or -1, m.errors, m.due)
  local body = m.body or ''
  if not m.finished then return m.lasting .. changes .. body end
  return m.lasting .. changes .. pack_ending(m.finished, m.fresh, m.gone, m.letter or -1, m.reason or '', m.result or '') .. body
end

local function unpack_message(id, packed)
  local at, expires, bytes, ttl, max, rank, number, lane, key, text_at = struct.unpack(lasting, packed)
  local state, flags, attempt, started, errors, due, rest_at = struct.unpack(changing, packed, at)
  local m = {
    id = id, expires = known(expires), bytes = bytes, ttl = ttl, max = max, rank = rank, member = number .. id, lane = lane,
    key = has(flags, has_key) and key or nil, text_at = text_at, lasting = string.sub(packed, 1, at - 1), state = states[state],
    watched = has(flags, is_watched), cancel = has(flags, is_cancelled), attempt = attempt, started = known(started),
    errors = errors, due = due,
  }
  if state >= codes.succeeded then
    local letter, reason
    m.finished, m.fresh, m.gone, letter, reason, m.result, rest_at = struct.unpack(ending, packed, rest_at)
    m.letter, m.reason = known(letter), reason ~= '' and reason or nil
  end
  if has(flags, has_small_body) then m.body = string.sub(packed, rest_at, rest_at + bytes - 1) end
  return m
end

local function text_of(m) return string.sub(m.lasting, m.text_at) end

-- What is kept of a lease, so that most settlements need not read the message. Those of one that is not plain do.
local leasing = '>BBddddddI4dI4c0'
local function pack_lease(lease)
  return struct.pack(leasing, lease.plain and 1 or 0, lease.small and 1 or 0, lease.attempt, lease.epoch, lease.started,
    lease.deadline, lease.bytes, lease.ttl, lease.at, lease.due, #lease.lane, lease.lane)
end

local function unpack_lease(packed)
  local plain, small, attempt, epoch, started, deadline, bytes, ttl, at, due, lane = struct.unpack(leasing, packed)
  return {
    plain = plain == 1, small = small == 1, attempt = attempt, epoch = epoch, started = started, deadline = deadline,
    bytes = bytes, ttl = ttl, at = at, due = due, lane = lane,
  }
end

-- What a lease keeps of a message that is ready.
local function read_ready(packed, lease)
  local _, flags, errors
  lease.at, lease.expires, lease.bytes, lease.ttl = struct.unpack('>I4ddd', packed)
  _, flags, lease.attempt, _, errors, lease.due = struct.unpack(changing, packed, lease.at)
  lease.small = has(flags, has_small_body)
  lease.plain = errors == 0 and (flags == 0 or flags == has_small_body)
end
`;
