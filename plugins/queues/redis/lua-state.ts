/** The version of the keys below. A queue with a higher one was written by a newer release. */
export const formatVersion = 1;

/**
 * What every script begins with: the time of the server, the counters, and how they are written. All keys of a queue
 * begin with KEYS[1], whose hash tag keeps them on one node of a cluster:
 *
 *   meta          counters of the queue, and its format       lanes      names of all lanes
 *   lane:LANE     counters of the lane, and its pause         line:…     one order key: who waits, in order of arrival
 *   m:ID          the message, packed                         ready:LANE by rank, then by arrival
 *   t:ID, b:ID    its text (JSON) and its body                since:LANE the same members by the time they got ready
 *   e:ID, r:ID    errors of its attempts, and its result      delayed, leased, expiring, letters    by time or number
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

-- The last step of every script.
local function save()
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
