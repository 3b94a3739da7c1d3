-- settle: ends or hands back a batch of attempts, mixed verbs, once per (worker incarnation, seq).
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 delayed zset; 10 bodies hash; 11 dead stream;
--   12 dead index hash; 13 window list; 14 window hash; 15 waiters hash; 16 cancels hash; 17 parked zset; 18 bell list;
--   19 memo string; 20 counters hash; 21 ten minutes hash; 22 deaths hash; then in the build for lines the keys of flow
--   control; then record strings, one per item that writes a record, in order
-- ARGV: 1 protocol; 2 seq; 3 memo lifetime ms; 4 consumer; 5 window size; 6 control channel; 7 done channel prefix;
--   8 record lifetime ms; 9 items; 10 what to count; 11 each item's part in it (_tally_settled.lua); then per item:
--   verb, id, token, and what the verb's file in settle/ says
-- Reply: string, one letter per item: a applied, l lost (somebody else holds it), g gone (settled, cancelled, removed).
-- Errors: SQSTALE, SQVERSION. Fence: the token is the exact index row; other tokens change nothing.
-- Replay: the memo holds the reply; the same seq gets it back and nothing is done. Order: destinations, then ack and
--   delete, then index, counters, waiters, memo last; so an error in the middle leaves the job where it was and the
--   replay repairs it.
local meta, memo = KEYS[1], KEYS[19]
local known = remembered(memo, ARGV[2])
if known then return known end
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'cancels', 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
if flow then flow.open(23, meta, m[4]) end

-- verb -> {function, number of arguments, writes a record}
local VERBS = {
  c = {complete, 1}, C = {complete, 2, true}, r = {retry, 4}, b = {bury, 5, true}, e = {finish, 2, true},
  u = {release, 0}, U = {release, 0}, p = {park, 2}, P = {park, 2}, x = {bury_raw, 2},
}
if flow then VERBS.l, VERBS.v, VERBS.V = {limited, 3}, {divert, 2}, {divert, 2} end
local now = now_ms()
local lanes = streams(KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
local counts, acks, rows_set, rows_gone, endings = {}, {}, {}, {}, {}
local batch = {
  now = now, consumer = ARGV[4], window = tonumber(ARGV[5]), result_ms = ARGV[8],
  index = KEYS[2], delayed = KEYS[9], bodies = KEYS[10], dead = KEYS[11], dead_index = KEYS[12], parked = KEYS[17],
  recent = {}, details = {}, acks = acks, gone = rows_gone, died_of = KEYS[22],
  waited_for = redis.call('HLEN', KEYS[15]) > 0,
}
function batch.count(name, by) counts[name] = (counts[name] or 0) + by end
local function drop(item)
  local list = acks[item.lane]
  if list then list[#list + 1] = item.entry else acks[item.lane] = {item.entry} end
end
function batch.leave(item)
  drop(item)
  rows_gone[#rows_gone + 1] = item.id
end
function batch.move(item, row)
  drop(item)
  rows_set[#rows_set + 1] = item.id
  rows_set[#rows_set + 1] = row
end
function batch.ended(id, how)
  if batch.waited_for then endings[#endings + 1] = {id, how} end
end

local total, at, next_record = tonumber(ARGV[9]), 12, flow and 23 + flow.KEYS or 23
local ids, starts, seen = {}, {}, {}
for n = 1, total do
  starts[n], ids[n], seen[ARGV[at]] = at, ARGV[at + 1], true
  at = at + 3 + VERBS[ARGV[at]][2]
end
-- Reads come first: a key of a wrong type fails here, before anything is written.
local rows = redis.call('HMGET', KEYS[2], unpack(ids))
if seen.c or seen.C then expect('l', KEYS[13], 'h', KEYS[14]) end
if seen.r then expect('z', KEYS[9], 'h', KEYS[10]) end
if seen.p or seen.P then expect('z', KEYS[17], 'h', KEYS[10]) end
if seen.b or seen.x then expect('s', KEYS[11], 'h', KEYS[12], 'h', KEYS[22]) end
if seen.u or seen.U then expect('l', KEYS[18]) end
if m[2] then expect('h', KEYS[16]) end

-- One table for all items: it makes no garbage.
local item, answers, done, find, sub = {}, {}, {}, string.find, string.sub
for _, n in ipairs(complete_plain(batch, ids, rows, starts, answers, done)) do
  local first = starts[n]
  local letter, id, token, row = ARGV[first], ids[n], ARGV[first + 2], rows[n]
  local verb, mine = VERBS[letter], row == token and not done[id]
  item.id, item.token, item.lane = id, token, sub(token, 1, 1)
  item.entry = sub(token, 2, find(token, ':', 1, true) - 1)
  item.key = lanes[item.lane]
  if verb[3] then
    item.record, next_record = KEYS[next_record], next_record + 1
  end
  if letter == 'x' or (not row and not done[id]) then
    -- What has no row is over and its entry gone, unless a foreign hand took the row: then our pending entry proves it.
    local held = redis.pcall('XPENDING', item.key, 'w', item.entry, item.entry, 1, ARGV[4])
    mine = not held.err and #held == 1
  end
  if mine then
    done[id], answers[n] = true, 'a'
    if flow then
      item.held = row and flow.record_of(row)
      if item.held then flow.free(id, item.held, letter) end
    end
    verb[1](batch, item, unpack(ARGV, first + 3, first + 2 + verb[2]))
  else
    answers[n] = row and 'l' or 'g'
  end
end
if #batch.recent > 0 then keep_recent(batch, KEYS[13], KEYS[14]) end
if batch.deaths then batch.deaths.save() end
for lane, entries in pairs(acks) do
  redis.call('XACK', lanes[lane], 'w', unpack(entries))
  redis.call('XDEL', lanes[lane], unpack(entries))
end
if #rows_set > 0 then redis.call('HSET', KEYS[2], unpack(rows_set)) end
if #rows_gone > 0 then redis.call('HDEL', KEYS[2], unpack(rows_gone)) end
for name, by in pairs(counts) do redis.call('HINCRBY', meta, name, by) end
if #batch.recent > 0 then
  -- At most 1,000 at a time: after keep_completed was lowered there may be more than unpack can take.
  local over = math.min(redis.call('LLEN', KEYS[13]) - batch.window, 1000)
  if over > 0 then redis.call('HDEL', KEYS[14], unpack(redis.call('RPOP', KEYS[13], over))) end
end
if m[2] and #rows_gone > 0 then
  local left = tonumber(m[2]) - redis.call('HDEL', KEYS[16], unpack(rows_gone))
  if left > 0 then redis.call('HSET', meta, 'cancels', left) else redis.call('HDEL', meta, 'cancels') end
end
if #endings > 0 then
  for _, ending in ipairs(endings) do
    local who = redis.call('HGET', KEYS[15], ending[1])
    if who then
      for channel in string.gmatch(who, '[^,]+') do
        redis.call('SPUBLISH', ARGV[7] .. channel, ending[2] .. ending[1])
      end
      redis.call('HDEL', KEYS[15], ending[1])
    end
  end
end
if batch.first_due then
  local head = redis.call('ZRANGE', KEYS[9], 0, 0, 'WITHSCORES')
  if tonumber(head[2]) >= batch.first_due then
    redis.call('SPUBLISH', ARGV[6], 'due ' .. whole(batch.first_due))
  end
end
if flow and flow.save() then batch.wake = true end
if seen.v then redis.call('HSETNX', meta, 'flow', '1') end -- else nobody would ask for the jobs of lines
if batch.wake and not m[3] then ring(KEYS[18]) end
local reply = table.concat(answers)
tally_settled(KEYS[20], KEYS[21], ARGV[10], ARGV[11], reply)
redis.call('SET', memo, ARGV[2] .. '|' .. reply, 'PX', ARGV[3])
return reply
