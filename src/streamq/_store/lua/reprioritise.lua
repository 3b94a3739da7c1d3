-- reprioritise: moves jobs that have not started to other lanes, wherever they wait; behind those that wait there.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9.. keys of flow control
-- ARGV: 1 protocol; then per job: id; lane 0-4; SHA1 (hex) of its envelope as the caller saw it; envelope with the lane
-- Reply: string, one letter per job: c changed, s same (it is there already, running or not), a active (left alone),
--   o in an ordered line (left alone: it has one lane), m the envelope is another by now (look again), g gone.
-- Errors: SQVERSION. Replay: a job that is in that lane is answered s.
-- A released job (pseudo-consumer ~) is waiting, too: its delivery count starts anew with the new entry.
local meta, index, taken = KEYS[1], KEYS[2], KEYS[8]
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(9, meta, m[3])
-- Reads come first: a key of a wrong type fails here, before anything is written.
for n = 3, 8 do expect('s', KEYS[n]) end
expect('h', index)
local bodies, wake, answers = flow.keys.bodies, false, {}

-- In a lane or the taken stream. The new entry comes first: an error after it leaves two, and the index names one.
local function from_stream(id, place, row, lane, seen, envelope)
  local key, entry = place == 't' and taken or KEYS[3 + place], string.match(row, '^.([^:]+)')
  local pending = redis.pcall('XPENDING', key, 'w', entry, entry, 1)
  local owner = not pending.err and pending[1] and pending[1][2]
  if (owner and owner ~= '~') or string.find(row, '|', 1, true) then return 'a' end
  if redis.sha1hex(body_of(key, entry)) ~= seen then return 'm' end
  local token = lane .. redis.call('XADD', KEYS[3 + lane], '*', 'j', id, 'd', envelope) .. ':0'
  if owner then
    redis.call('XACK', key, 'w', entry)
    redis.call('HINCRBY', meta, 'released', -1)
  end
  redis.call('XDEL', key, entry)
  redis.call('HSET', index, id, token)
  wake = true
  return 'c'
end

-- Delayed, parked or in a line: the envelope stands in the bodies, the lane in the row.
local function from_bodies(id, place, row, lane, seen, envelope)
  if redis.sha1hex(redis.call('HGET', bodies, id) or '') ~= seen then return 'm' end
  local r = flow.record_of(row)
  if r and r[4] then return 'o' end
  redis.call('HSET', bodies, id, envelope)
  if place == 'f' then
    flow.remove(id, row)
    redis.call('HSET', index, id, flow.add(id, lane, r))
  else
    redis.call('HSET', index, id, place .. lane .. string.sub(row, 3))
  end
  return 'c'
end

for n = 2, #ARGV, 4 do
  local id, lane = ARGV[n], ARGV[n + 1]
  local row = redis.call('HGET', index, id)
  local place = row and string.sub(row, 1, 1)
  local in_stream = place == 't' or tonumber(place or '')
  if not row then
    answers[#answers + 1] = 'g'
  elseif (in_stream and place or string.sub(row, 2, 2)) == lane then
    answers[#answers + 1] = 's'
  else
    local move = in_stream and from_stream or from_bodies
    answers[#answers + 1] = move(id, place, row, lane, ARGV[n + 2], ARGV[n + 3])
  end
end
if flow.save() then wake = true end
if wake and not m[2] then ring(flow.keys.bell) end
return table.concat(answers)
