/** What is known of messages and lanes. */
export const luaRecords = {
  describe: `
local function describe(m)
  return cjson.encode({
    id = m.id, lane = m.lane, state = m.state, attempt = m.attempt, startedAt = m.started, finishedAt = m.finished,
    dueAt = m.state == 'delayed' and m.due or nil, deadReason = m.reason, bodyBytes = m.bytes,
    expired = m.fresh ~= nil and m.fresh <= now,
  })
end
local function errors_of(m) return m.errors > 0 and call('LRANGE', P .. 'e:' .. m.id, 0, -1) or {} end
`,
  /** With ARGV[6] its end will be told. */
  find: `
fetch_leased({ ARGV[5] })
local m = load(ARGV[5])
local answer = false
if m then
  if ARGV[6] == '1' and not m.finished and not m.watched then
    m.watched = true
    keep(m)
  end
  local result = m.finished and m.fresh > now and (m.result ~= '' and m.result or call('GET', P .. 'r:' .. m.id))
  answer = { describe(m), text_of(m), errors_of(m), result }
end
save()
return answer
`,
  lanes: `
local answers = {}
settle_positions()
for _, name in ipairs(call('SMEMBERS', P .. 'lanes')) do
  local l = lane(name)
  -- Of those that go next: one that is behind so many more urgent ones may have waited longer.
  local ids = ids_of(call('ZRANGE', P .. 'ready:' .. name, 0, 99))
  fetch(ids)
  local counts = { age = 0 }
  for _, id in ipairs(ids) do
    local m = load(id)
    if m then counts.age = math.max(counts.age, now - m.due) end
  end
  for _, field in ipairs(lane_fields) do counts[field] = l[field] end
  answers[#answers + 1] = { name, cjson.encode(counts) }
end
save()
return answers
`,
} as const;

/** Dead letters. Lists and purges look at so many in one script; ARGV[7] is the number to go on below. */
export const luaLetters = {
  /** Of what a sorted set gives with its scores. */
  rows: `
local function ids_of_rows(rows)
  local ids = {}
  for i = 1, #rows, 2 do ids[#ids + 1] = rows[i] end
  return ids
end
`,
  list: `
local lane_name, reason, limit = ARGV[5], ARGV[6], tonumber(ARGV[8])
local rows = call('ZREVRANGEBYSCORE', P .. 'letters', ARGV[7], '-inf', 'WITHSCORES', 'LIMIT', 0, 200)
local items, last = {}, ''
fetch(ids_of_rows(rows))
for i = 1, #rows, 2 do
  if #items >= limit then break end
  last = rows[i + 1]
  local m = load(rows[i])
  if m and (lane_name == '' or m.lane == lane_name) and (reason == '' or m.reason == reason) then
    items[#items + 1] = { last, describe(m), text_of(m), errors_of(m) }
  end
end
save()
return { items, last }
`,
  get: `
local m = load(ARGV[5])
local answer = m and m.letter and { describe(m), text_of(m), errors_of(m) }
save()
return answer or false
`,
  body: `
local m = load(ARGV[5])
local answer = m and m.letter and body_of(m)
save()
return answer or false
`,
  /** ARGV[5]: the letter; [6]: 1 to take the body that follows, 0 to take the letter's, - if there was none; [7…]: the new message. */
  replay: `
local n = given(7)
local answer = { 0 }
if load(n.id) then
  answer = { 2, text_of(load(n.id)) }
else
  local m = load(ARGV[5])
  if m and m.letter and ARGV[6] ~= '-' then
    if ARGV[6] ~= '1' then n.body = body_of(m) end
    accept(n)
    remove_letter(m)
    answer = { 1 }
  end
end
save()
return answer
`,
  purge: `
local lane_name, reason, id = ARGV[5], ARGV[6], ARGV[8]
local removed, last = 0, ''
local rows
if id ~= '' then
  rows = { id, '' }
else
  rows = call('ZREVRANGEBYSCORE', P .. 'letters', ARGV[7], '-inf', 'WITHSCORES', 'LIMIT', 0, 200)
end
fetch(ids_of_rows(rows))
for i = 1, #rows, 2 do
  last = rows[i + 1]
  local m = load(rows[i])
  if m and m.letter and (lane_name == '' or m.lane == lane_name) and (reason == '' or m.reason == reason) then
    remove_letter(m)
    removed = removed + 1
  end
end
save()
return { removed, last }
`,
} as const;
