import type { RedisScript } from '../../connections/redis/connection.ts';

/** The version of the keys below. A store with a higher one was written by a newer release. */
const formatVersion = 1;

/**
 * KEYS[1] is what all keys begin with; its hash tag keeps them on one node of a cluster:
 *
 *   meta     the format, and the last version that was given to a record
 *   r:KEY    version, time of expiry (0: never) and value, packed; Redis forgets it by itself
 *   keys     all keys, to be listed in order of their bytes
 *   ends     keys of records that expire, by that time, so that they leave `keys`
 *
 * ARGV[1] is the time (tests only; else empty).
 */
const begin = `
local call = redis.call
local P = KEYS[1]
local now
if ARGV[1] == '' then
  local time = call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end
local function record(key)
  local packed = call('GET', P .. 'r:' .. key)
  if not packed then return nil end
  local version, ends, value = unpack(cmsgpack.unpack(packed))
  if ends > 0 and ends <= now then return nil end
  return version, value
end
local function forget(key)
  call('UNLINK', P .. 'r:' .. key)
  call('ZREM', P .. 'keys', key)
  call('ZREM', P .. 'ends', key)
end
`;

const writes = `
local format = tonumber(call('HGET', P .. 'meta', 'format') or ${formatVersion})
if format > ${formatVersion} then return redis.error_reply('MILLRACEFORMAT ' .. format) end
`;

const put = `
local key, value, ttl, wanted = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
if wanted and wanted ~= (record(key) or 0) then return 0 end
local version = call('HINCRBY', P .. 'meta', 'version', 1)
call('HSET', P .. 'meta', 'format', ${formatVersion})
local ends = ttl and now + ttl or 0
local packed = cmsgpack.pack({ version, ends, value })
call('ZADD', P .. 'keys', 0, key)
if ttl then
  call('SET', P .. 'r:' .. key, packed, 'PX', math.max(1, ttl))
  call('ZADD', P .. 'ends', ends, key)
else
  call('SET', P .. 'r:' .. key, packed)
  call('ZREM', P .. 'ends', key)
end
-- What has expired leaves the list little by little.
for _, old in ipairs(call('ZRANGEBYSCORE', P .. 'ends', '-inf', now, 'LIMIT', 0, 20)) do forget(old) end
return version
`;

const get = `
local version, value = record(ARGV[2])
return version and { version, value } or false
`;

const remove = `
local there = record(ARGV[2]) ~= nil
forget(ARGV[2])
return there and 1 or 0
`;

/** Looks at so many at once; the second reply is where to go on, if there is more. */
const list = `
local limit = tonumber(ARGV[4])
local keys = call('ZRANGEBYLEX', P .. 'keys', ARGV[2], ARGV[3], 'LIMIT', 0, 500)
local found = {}
for i, key in ipairs(keys) do
  if record(key) then found[#found + 1] = key end
  if #found == limit then return { found, '' } end
end
return { found, #keys == 500 and '(' .. keys[500] or '' }
`;

const script = (text: string): RedisScript => ({ text });

/** One Lua text an operation, so that each is one step for everybody. */
export const storeScripts = {
  open: script(begin + writes + 'return 1'),
  get: script(begin + get),
  put: script(begin + writes + put),
  delete: script(begin + writes + remove),
  list: script(begin + list),
} as const;
