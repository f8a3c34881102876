/** The version of the keys below. A queue with a higher one was written by a newer release. */
export const formatVersion = 1;

/**
 * What every script begins with: the time of the server, the counters, and how they are written. All keys of a queue
 * begin with KEYS[1], whose hash tag keeps them on one node of a cluster:
 *
 *   meta          counters of the queue, and its format       lanes      names of all lanes
 *   lane:LANE     counters of the lane, and its pause         line:…     one order key: who waits, in order of arrival
 *   m:ID          the message, packed, with its text (JSON)   ready:LANE by rank, then by arrival
 *   b:ID          its body                                    delayed, leased, expiring    by time
 *   e:ID, r:ID    errors of its attempts, and its result      letters    by number
 *   dedup:…       the first message of a key
 *
 * ARGV[1..4]: the time (tests only; else empty), aging step, retention of letters, tombstones; all in ms.
 */
export const luaState = `
local call = redis.call
local P = KEYS[1]
local now, soon
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
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

local meta = read(P .. 'meta', { 'format', 'seq', 'letter', 'messages', 'bytes', 'letters' })
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
local messages, changed, values, bodies, positions = {}, {}, {}, {}, {}

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

-- Before a sorted set is read.
local function settle_positions()
  for set, members in pairs(positions) do
    local added, removed = {}, {}
    for member, score in pairs(members) do
      if score then
        added[#added + 1] = score
        added[#added + 1] = member
      else
        removed[#removed + 1] = member
      end
    end
    in_parts('ZADD', P .. set, added)
    in_parts('ZREM', P .. set, removed)
  end
  positions = {}
end

local function pack(m)
  local id, ended_now = m.id, m.ended_now
  m.id, m.ended_now = nil, nil
  local packed = cmsgpack.pack(m)
  m.id, m.ended_now = id, ended_now
  return packed
end

local function write_messages()
  for id, m in pairs(changed) do
    if m.finished then
      local lifetime = math.max(1, m.gone - now)
      call('SET', P .. 'm:' .. id, pack(m), 'PX', lifetime)
      if m.ended_now then
        if m.errors then call('PEXPIRE', P .. 'e:' .. id, lifetime) end
        if m.letter and m.bytes > 0 then call('PEXPIRE', P .. 'b:' .. id, lifetime) end
      end
    else
      values[#values + 1] = P .. 'm:' .. id
      values[#values + 1] = pack(m)
    end
  end
  in_parts('MSET', nil, values)
  in_parts('UNLINK', nil, bodies)
end

-- The last step of every script.
local function save()
  -- First what a Redis that is full refuses: then nothing has been changed.
  write_messages()
  settle_positions()
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
