-- settle: ends or hands back a batch of attempts, mixed verbs, once per (worker incarnation, seq).
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 delayed zset; 10 bodies hash; 11 dead stream;
--   12 dead index hash; 13 window list; 14 window hash; 15 waiters hash; 16 cancels hash; 17 parked zset; 18 bell list;
--   19 memo string; 20.. record strings, one per item that writes a record, in order
-- ARGV: 1 protocol; 2 seq; 3 memo lifetime ms; 4 consumer; 5 window size; 6 control channel; 7 done channel prefix;
--   8 record lifetime ms; 9 items; then per item: verb, id, token, and what the verb's file in settle/ says
-- Reply: string, one letter per item: a applied, l lost (somebody else holds it), g gone (settled, cancelled, removed).
-- Errors: SQSTALE, SQVERSION. Fence: the token is the exact index row; other tokens change nothing.
-- Order: destinations, then ack and delete, then index, counters, waiters, memo last; so an error in the middle leaves
-- the job where it was and the replay repairs it.
local meta, memo = KEYS[1], KEYS[19]
local known = redis.call('GET', memo)
if known then
  local bar = string.find(known, '|', 1, true)
  local last = tonumber(string.sub(known, 1, bar - 1))
  if last == tonumber(ARGV[2]) then return string.sub(known, bar + 1) end
  if last > tonumber(ARGV[2]) then return redis.error_reply('SQSTALE ' .. last) end
end
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'cancels', 'paused')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end

-- verb -> {function, number of arguments, writes a record}
local VERBS = {
  c = {complete, 1}, C = {complete, 2, true}, r = {retry, 4}, b = {bury, 4, true}, e = {finish, 2, true},
  u = {release, 0}, p = {park, 2}, x = {bury_raw, 1},
}
local now = now_ms()
local counts, acks, rows_set, rows_gone, endings = {}, {}, {}, {}, {}
local batch = {
  now = now, now_text = whole(now), consumer = ARGV[4], window = tonumber(ARGV[5]), result_ms = ARGV[8],
  index = KEYS[2], delayed = KEYS[9], bodies = KEYS[10], dead = KEYS[11], dead_index = KEYS[12], parked = KEYS[17],
  recent = {}, details = {},
}
function batch.count(name, by) counts[name] = (counts[name] or 0) + by end
local function drop(item)
  local list = acks[item.key]
  if list then list[#list + 1] = item.entry else acks[item.key] = {item.entry} end
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
function batch.ended(id, how) endings[#endings + 1] = {id, how} end

local items, ids, at, next_record = {}, {}, 10, 20
for n = 1, tonumber(ARGV[9]) do
  local verb, token = VERBS[ARGV[at]], ARGV[at + 2]
  local lane, colon = string.sub(token, 1, 1), string.find(token, ':', 1, true)
  local item = {
    verb = verb, id = ARGV[at + 1], token = token, at = at + 3, raw = ARGV[at] == 'x',
    key = lane == 't' and KEYS[8] or KEYS[3 + lane], entry = string.sub(token, 2, colon - 1),
  }
  if verb[3] then
    item.record, next_record = KEYS[next_record], next_record + 1
  end
  items[n], ids[n], at = item, item.id, at + 3 + verb[2]
end
local rows = redis.call('HMGET', KEYS[2], unpack(ids))

local answers, done = {}, {}
for n, item in ipairs(items) do
  local row, mine = rows[n], nil
  if item.raw then
    local pending = redis.call('XPENDING', item.key, 'w', item.entry, item.entry, 1, ARGV[4])
    mine = #pending == 1
  else
    mine = row == item.token and not done[item.id]
  end
  if mine then
    done[item.id] = true
    answers[n] = 'a'
    item.verb[1](batch, item, unpack(ARGV, item.at, item.at + item.verb[2] - 1))
  else
    answers[n] = row and 'l' or 'g'
  end
end
if #batch.recent > 0 then
  redis.call('LPUSH', KEYS[13], unpack(batch.recent))
  redis.call('HSET', KEYS[14], unpack(batch.details))
end
for key, entries in pairs(acks) do
  redis.call('XACK', key, 'w', unpack(entries))
  redis.call('XDEL', key, unpack(entries))
end
if #rows_set > 0 then redis.call('HSET', KEYS[2], unpack(rows_set)) end
if #rows_gone > 0 then redis.call('HDEL', KEYS[2], unpack(rows_gone)) end
for name, by in pairs(counts) do redis.call('HINCRBY', meta, name, by) end
if #batch.recent > 0 then
  local over = redis.call('LLEN', KEYS[13]) - batch.window
  if over > 0 then redis.call('HDEL', KEYS[14], unpack(redis.call('RPOP', KEYS[13], over))) end
end
if m[2] and #rows_gone > 0 then
  local left = tonumber(m[2]) - redis.call('HDEL', KEYS[16], unpack(rows_gone))
  if left > 0 then redis.call('HSET', meta, 'cancels', left) else redis.call('HDEL', meta, 'cancels') end
end
if #endings > 0 and redis.call('EXISTS', KEYS[15]) == 1 then
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
if batch.wake and not m[3] then ring(KEYS[18]) end
local reply = table.concat(answers)
redis.call('SET', memo, ARGV[2] .. '|' .. reply, 'PX', ARGV[3])
return reply
