/** The version of the keys below. A queue with a higher one was written by a newer release. */
export const formatVersion = 1;

/**
 * What every script begins with: the time of the server, the counters, and how they are written. All keys of a queue
 * begin with KEYS[1], whose hash tag keeps them on one node of a cluster:
 *
 *   meta          counters of the queue, and its format       lanes      names of all lanes
 *   lane:LANE     counters of the lane, and its pause         line:…     one order key: who waits, in order of arrival
 *   m:ID          the message, packed, with its text (JSON)   ready:LANE by rank, then by arrival
 *   b:ID          its body, if it is big                       delayed, leased, expiring    by time
 *   e:ID, r:ID    errors of its attempts, and a big result    letters    by number
 *   dedup:…       the first message of a key                  leases     who is leased, and how
 *
 * A lease does not write its message: that stays as it was when it was ready, and `leases` tells the rest.
 *
 * ARGV[1..4]: the time (tests only; else empty), aging step, retention of letters, tombstones; all in ms.
 */
export const luaState = `
local call = redis.call
local P = KEYS[1]
local time = call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local now, soon = clock, nil
if ARGV[1] == '' then
  -- Nothing may come early: what lasts, lasts from the end of this millisecond.
  soon = now + (time[2] % 1000 > 0 and 1 or 0)
else
  now = tonumber(ARGV[1])
  soon = now
end
local aging, retention, tombstones = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function read(key, fields)
  local values = call('HMGET', key, unpack(fields))
  local row = { key = key, fields = fields, was = {}, known = false }
  for i, field in ipairs(fields) do
    row.known = row.known or values[i] ~= false
    row[field] = tonumber(values[i] or 0)
    row.was[field] = row[field]
  end
  return row
end

local function write(row)
  local changes = {}
  for _, field in ipairs(row.fields) do
    if row[field] ~= row.was[field] then
      changes[#changes + 1] = field
      changes[#changes + 1] = row[field]
    end
  end
  if #changes > 0 then call('HSET', row.key, unpack(changes)) end
  return #changes > 0
end

local meta = read(P .. 'meta', { 'format', 'seq', 'epoch', 'letter', 'messages', 'bytes', 'letters' })
if meta.format > ${formatVersion} then return redis.error_reply('MILLRACEFORMAT ' .. meta.format) end
meta.format = ${formatVersion}

local lane_fields = {
  'paused', 'ready', 'blocked', 'delayed', 'leased', 'letters', 'bytes',
  'accepted', 'succeeded', 'dead', 'expired', 'cancelled', 'retried', 'stale',
}
local lanes, woken, ended = {}, {}, {}

local function lane(name)
  local row = lanes[name]
  if not row then
    row = read(P .. 'lane:' .. name, lane_fields)
    row.name = name
    lanes[name] = row
  end
  return row
end

-- A call of Redis costs more than what it does: changes are collected, and written together.
local messages, changed, values, bodies, positions, leases, lease_of = {}, {}, {}, {}, {}, {}, {}

-- Where a member stands in a sorted set; false: nowhere.
local function place(set, member, score)
  local members = positions[set]
  if not members then
    members = {}
    positions[set] = members
  end
  members[member] = score
end

local function in_parts(command, key, values)
  for i = 1, #values, 1000 do
    if key then
      call(command, key, unpack(values, i, math.min(i + 999, #values)))
    else
      call(command, unpack(values, i, math.min(i + 999, #values)))
    end
  end
end

-- What is to be set, as arguments, and what is to be removed.
local function parted(places, value_first)
  local set, removed = {}, {}
  for name, value in pairs(places) do
    if value then
      set[#set + 1] = value_first and value or name
      set[#set + 1] = value_first and name or value
    else
      removed[#removed + 1] = name
    end
  end
  return set, removed
end

-- Before a sorted set is read.
local function settle_positions()
  for set, members in pairs(positions) do
    local added, removed = parted(members, true)
    in_parts('ZADD', P .. set, added)
    in_parts('ZREM', P .. set, removed)
  end
  positions = {}
end

-- The text of a whole number, made once: many messages of a script have the same times.
local texts = {}
local function text_of_number(number)
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end

local function write_leases()
  local held, ended = parted(leases, false)
  in_parts('HSET', P .. 'leases', held)
  in_parts('HDEL', P .. 'leases', ended)
end

-- When Redis is to forget it: by its own clock, also where the scripts are told another time.
local function until_gone(gone) return text_of_number(math.max(now + 1, gone) + clock - now) end

local function write_messages()
  for id, m in pairs(changed) do
    if m.finished then
      local at = until_gone(m.gone)
      call('SET', P .. 'm:' .. id, pack(m), 'PXAT', at)
      if m.ended_now then
        if m.errors > 0 then call('PEXPIREAT', P .. 'e:' .. id, at) end
        if m.letter and not m.body then call('PEXPIREAT', P .. 'b:' .. id, at) end
      end
    else
      values[#values + 1] = P .. 'm:' .. id
      values[#values + 1] = pack(m)
    end
  end
  in_parts('MSET', nil, values)
  in_parts('UNLINK', nil, bodies)
end

-- Writes what has been collected, and forgets what has been read.
local function flush()
  -- First what a Redis that is full refuses: then nothing has been changed.
  write_messages()
  settle_positions()
  write_leases()
  messages, changed, values, bodies, leases, lease_of = {}, {}, {}, {}, {}, {}
end

-- The last step of every script.
local function save()
  flush()
  write(meta)
  for name, row in pairs(lanes) do
    if row.was.ready == 0 and row.ready > 0 and row.paused == 0 then woken[#woken + 1] = name end
    if write(row) and not row.known then call('SADD', P .. 'lanes', name) end
  end
  if #woken + #ended > 0 then call('PUBLISH', P .. 'events', cjson.encode({ woken = woken, ended = ended })) end
end
`;

/** Before the first write of whatever empties a queue: a Redis that is full refuses only the first write that needs memory. */
export const luaFrees = `
call('DEL', P .. 'none')
`;
