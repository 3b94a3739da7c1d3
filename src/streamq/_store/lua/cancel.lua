-- cancel: takes jobs that wait (in a lane or a line, delayed or parked) out of the queue; asks the worker of a running
-- one.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 delayed zset; 10 bodies hash; 11 parked zset;
--   12 cancels hash; 13 waiters hash; 14 counters hash; 15 ten minutes hash; then the keys of flow control; then record
--   strings, one per id
-- ARGV: 1 protocol; 2 record lifetime ms; 3 control channel; 4 done channel prefix; 5 record; 6 1 to ask running jobs
--   to stop, 0 to leave them; 7 minute of the ten (0-9); 8.. ids (500 at most)
-- Reply: string, one letter per id: c cancelled, a active (asked to stop), s active (left alone), g gone.
-- Replay: what this very call cancelled is answered c again; a running job is asked again. The mark is written before
--   the message is sent.
local meta, index = KEYS[1], KEYS[2]
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(16, meta, m[3])
local first_record = 16 + flow.KEYS
-- Reads come first: a key of a wrong type fails here, before anything is written.
for n = 3, 8 do expect('s', KEYS[n]) end
expect('h', index, 'z', KEYS[9], 'h', KEYS[10], 'z', KEYS[11], 'h', KEYS[12], 'h', KEYS[13])
local answers, noted = {}, {{}, {}}
for n = 8, #ARGV do
  local id, answer, done, body = ARGV[n], 'c', false, nil
  local row = redis.call('HGET', index, id)
  local place = row and string.sub(row, 1, 1)
  if place == 'f' or place == 'd' or place == 'p' then body = redis.call('HGET', KEYS[10], id) end
  if not row then
    -- A call whose reply was lost finds its own record, to the byte: the answer is the same again.
    local record = redis.pcall('GET', KEYS[first_record + n - 8])
    answer = record == ARGV[5] and 'c' or 'g'
    done = answer == 'c'
  elseif place == 'f' then
    flow.remove(id, row)
    redis.call('HDEL', KEYS[10], id)
  elseif place == 'd' then
    redis.call('ZREM', KEYS[9], id)
    redis.call('HDEL', KEYS[10], id)
  elseif place == 'p' then
    redis.call('ZREM', KEYS[11], string.match(row, '^..(%Z*)') .. '\0' .. id)
    redis.call('HDEL', KEYS[10], id)
  else
    local key = place == 't' and KEYS[8] or KEYS[3 + place]
    local entry = string.sub(row, 2, string.find(row, ':', 1, true) - 1)
    local pending = redis.pcall('XPENDING', key, 'w', entry, entry, 1)
    local owner = not pending.err and pending[1] and pending[1][2]
    if owner and owner ~= '~' then
      answer = 's'
      if ARGV[6] == '1' then
        answer = 'a'
        if redis.call('HSET', KEYS[12], id, '1') == 1 then redis.call('HINCRBY', meta, 'cancels', 1) end
        redis.call('SPUBLISH', ARGV[3], 'cancel ' .. id)
      end
    else
      if owner then
        redis.call('XACK', key, 'w', entry)
        redis.call('HINCRBY', meta, 'released', -1)
      end
      body = body_of(key, entry)
      redis.call('XDEL', key, entry)
      local held = flow.record_of(row)
      if held then flow.free(id, held) end
    end
  end
  if answer == 'c' and not done then
    redis.call('SET', KEYS[first_record + n - 8], ARGV[5], 'PX', ARGV[2])
    redis.call('HDEL', index, id)
    redis.call('HINCRBY', meta, 'cancelled', 1)
    note(noted, body or '', CANCELLED)
    -- It may bear the mark of a time when it ran; left behind, that would stop a later job of the same custom id.
    if redis.call('HDEL', KEYS[12], id) == 1 and redis.call('HINCRBY', meta, 'cancels', -1) < 1 then
      redis.call('HDEL', meta, 'cancels')
    end
    local who = redis.call('HGET', KEYS[13], id)
    for channel in string.gmatch(who or '', '[^,]+') do redis.call('SPUBLISH', ARGV[4] .. channel, 'r' .. id) end
    if who then redis.call('HDEL', KEYS[13], id) end
  end
  answers[#answers + 1] = answer
end
tally(KEYS[14], KEYS[15], ARGV[7], noted[1], noted[2])
if flow.save() and not m[2] then ring(flow.keys.bell) end
return table.concat(answers)
