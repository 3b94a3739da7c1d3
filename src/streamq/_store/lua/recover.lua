-- recover: mends things that verify told of, each if its facts are still the same.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 delayed zset; 10 parked zset; 11 dead stream;
--   12 dead index hash; 13 waiters hash; 14 workers hash; 15 beats zset; 16 window list; 17 window hash; 18 deaths
--   hash; then the keys of flow control; then strings, one per thing that needs one (its record, or itself), in order
-- ARGV: 1 protocol; 2 ms after which a silent worker counts as gone; 3 lifetime ms for keys that have none; then per
--   thing (50 at most): the thing, the digest of its facts, what to do
-- Reply: string, one letter per thing: a mended, m moved on (look again). Errors: SQVERSION. Replay: what is mended has
--   other facts.
-- Bounded: a few writes a thing. A wrong type of any key fails at the look, before the first write of that thing.
local m = redis.call('HMGET', KEYS[1], PROTOCOL_FIELD, 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(19, KEYS[1], m[3])

function mend.undelay(id) redis.call('ZREM', delayed, id) end
function mend.unbody(id) redis.call('HDEL', K.bodies, id) end
function mend.unwait(id) redis.call('HDEL', KEYS[13], id) end
function mend.unletter(id) redis.call('HDEL', dead_index, id) end
function mend.unbeat(name) redis.call('HDEL', KEYS[14], name) end
function mend.detail(id) redis.call('HDEL', KEYS[17], id) end
function mend.ack(lane, entry) redis.call('XACK', lane_keys[lane], 'w', entry) end
function mend.drop(lane, entry) out_of_stream(lane_keys[lane], entry) end
function mend.unpark(one) redis.call('ZREM', KEYS[10], one) end
function mend.unpin(one) redis.call('ZREM', K.jobs, one) end
function mend.expire(_, _, key) redis.call('PEXPIRE', key, ARGV[3]) end
function mend.forget(_, _, key) redis.call('DEL', key) end
function mend.consumer(one)
  redis.call('XGROUP', 'DELCONSUMER', lane_keys[string.sub(one, 1, 1)], 'w', string.sub(one, 2))
end

-- Books are kept anew from what there is.
function mend.cancels()
  local marks = redis.call('HLEN', K.cancels)
  if marks > 0 then redis.call('HSET', KEYS[1], 'cancels', marks) else redis.call('HDEL', KEYS[1], 'cancels') end
end
function mend.unmark(id)
  redis.call('HDEL', K.cancels, id)
  mend.cancels()
end
function mend.released()
  redis.call('HSET', KEYS[1], 'released', handed_back())
  woke = true
end
function mend.protocol() redis.call('HSETNX', KEYS[1], PROTOCOL_FIELD, ARGV[1]) end
function mend.group()
  for lane in string.gmatch(without_group('9e15'), '.') do
    if lane == 't' then
      make_taken_group(KEYS[1], KEYS[8])
    else
      redis.call('XGROUP', 'CREATE', lane_keys[lane], 'w', '0')
    end
  end
  woke = true
end

local next_key, answers = 19 + flow.KEYS, {}
for n = 4, #ARGV, 3 do
  local letter, rest, key = string.sub(ARGV[n], 1, 1), string.sub(ARGV[n], 2), nil
  if NEEDS_KEY[letter] then
    key, next_key = KEYS[next_key], next_key + 1
  end
  local is_entry = lane_keys[letter]
  if look_at(ARGV[n], key) == ARGV[n + 1] then
    if is_entry then mend[ARGV[n + 2]](letter, rest) else mend[ARGV[n + 2]](rest, nil, key) end
    answers[#answers + 1] = 'a'
  else
    answers[#answers + 1] = 'm'
  end
end
if flow.save() then woke = true end
if woke and not m[2] then ring(K.bell) end
return table.concat(answers)
