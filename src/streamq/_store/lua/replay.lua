-- replay: puts dead letters back as jobs: same id, attempts from zero, history kept.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 delayed zset; 9 bodies hash; 10 dead stream; 11 dead index hash;
--   12 bell list; 13 deaths hash; then the keys of flow control; then record strings, one per id
-- ARGV: 1 protocol; 2 control channel; then per dead letter: id; lane 0-4; when ('0', '+ms', '@ms'); envelope
-- Reply: string, one letter per id: a applied, g not among the dead, l lives again (its id is unsettled).
-- Errors: SQVERSION, OOM before the first write. Replay: an id already put back is not among the dead any more.
local meta, index, dead, dead_index = KEYS[1], KEYS[2], KEYS[10], KEYS[11]
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(14, meta, m[3])
-- Reads come first: a key of a wrong type fails here, before anything is written.
for n = 3, 7 do expect('s', KEYS[n]) end
expect('h', index, 'z', KEYS[8], 'h', KEYS[9], 's', dead, 'h', dead_index, 'l', KEYS[12],
  'h', KEYS[13])
local now, answers, wake, first_due, died_of = now_ms(), {}, false, nil, deaths(KEYS[13])
for n = 3, #ARGV, 4 do
  local id, lane, when, body = ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3]
  local entry, answer = redis.call('HGET', dead_index, id), 'a'
  if not entry then
    answer = 'g'
  elseif redis.call('HEXISTS', index, id) == 1 then
    answer = 'l'
  else
    -- What waited in a line goes to its end.
    local r
    local fields = (redis.call('XRANGE', dead, entry, entry)[1] or {nil, {}})[2]
    for f = 1, #fields - 1, 2 do
      if fields[f] == 'f' then r = cmsgpack.unpack(fields[f + 1]) end
    end
    if r then r[6], r[7], r[8], r[10] = 0, 0, 0, 0 end
    if when == '0' and r then
      redis.call('HSET', KEYS[9], id, body)
      redis.call('HSET', index, id, flow.add(id, lane, r))
    elseif when == '0' then
      redis.call('HSET', index, id, lane .. redis.call('XADD', KEYS[3 + lane], '*', 'j', id, 'd', body) .. ':0')
      wake = true
    else
      local due = due_ms(when, now)
      redis.call('HSET', KEYS[9], id, body)
      redis.call('ZADD', KEYS[8], whole(due), id)
      redis.call('HSET', index, id, r and flow.delayed(lane, r) or 'd' .. lane)
      if not first_due or due < first_due then first_due = due end
    end
    if #fields > 0 then died_of.take(label_of(fields), entry) end
    redis.call('XDEL', dead, entry)
    redis.call('HDEL', dead_index, id)
    redis.call('DEL', KEYS[14 + flow.KEYS + (n - 3) / 4])
    redis.call('HINCRBY', meta, 'replayed', 1)
  end
  answers[#answers + 1] = answer
end
died_of.save()
if flow.save() then wake = true end
if wake and not m[2] then ring(KEYS[12]) end
if first_due then redis.call('SPUBLISH', ARGV[2], 'due ' .. whole(first_due)) end
return table.concat(answers)
