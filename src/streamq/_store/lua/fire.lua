-- fire: fires one tick of a schedule, once however many schedulers try, and moves the schedule on to its next tick.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 states hash; 9 ticks zset; 10 bell list; 11 dead index hash;
--   12 record string of the job
-- ARGV: 1 protocol; 2 schedule id; 3 version; 4 tick ms, '' to move on without firing; 5 next tick ms, '' for none;
--   6 job id; 7 lane 0-4; 8 envelope
-- Reply: 'fired', 'moved', 'already' (this tick fired before), 'exists' (the job of this tick is still there; the tick
--   counts as fired), 'stale' (another version, paused or removed), 'early'.
-- Errors: SQVERSION, OOM before the first write. Replay: 'already'.
local index, states, ticks = KEYS[2], KEYS[8], KEYS[9]
local id, version, tick, next_ms, job = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local m = redis.call('HMGET', KEYS[1], PROTOCOL_FIELD, 'paused')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
local state = redis.call('HGET', states, id)
if not state then return 'stale' end
local v, status, last, count = string.match(state, '^(%S+) (%S+) (%S+) (%S+)$')
if v ~= version or status ~= 'on' then return 'stale' end
local function move()
  if next_ms == '' then redis.call('ZREM', ticks, id) else redis.call('ZADD', ticks, next_ms, id) end
end
if tick == '' then
  move()
  return 'moved'
end
if tonumber(tick) <= tonumber(last) then return 'already' end
if tonumber(tick) > now_ms() then return 'early' end
local known = redis.call('HEXISTS', index, job) == 1 or redis.call('HEXISTS', KEYS[11], job) == 1
  or redis.call('EXISTS', KEYS[12]) == 1
if not known then
  local entry = redis.call('XADD', KEYS[3 + ARGV[7]], '*', 'j', job, 'd', ARGV[8])
  redis.call('HSET', index, job, ARGV[7] .. entry .. ':0')
  if not m[2] then ring(KEYS[10]) end
end
redis.call('HSET', states, id, version .. ' on ' .. tick .. ' ' .. (tonumber(count) + 1))
move()
return known and 'exists' or 'fired'
