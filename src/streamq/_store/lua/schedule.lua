-- schedule: writes, changes or takes away a schedule. Its last tick is kept for ever, so that no tick fires twice.
-- KEYS: 1 meta hash; 2 specs hash; 3 states hash; 4 ticks zset
-- ARGV: 1 protocol; 2 id; 3 what: 'declare' (by code), 'upsert', 'pause', 'resume', 'remove'; 4 version (digest of the
--   definition); 5 spec; 6 next tick ms, '' for none; 7 control channel
-- Reply: 'new', 'changed', 'same', 'removed' (a removed one is not brought back by the code that declared it), 'unknown'.
-- State: 'version on|paused|removed lastms count'. Replay: says 'same', or does the same again.
local specs, states, ticks = KEYS[2], KEYS[3], KEYS[4]
local id, what, version, spec, next_ms = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local refused = wrong_protocol(redis.call('HGET', KEYS[1], PROTOCOL_FIELD), ARGV[1])
if refused then return refused end
local function store(v, status, last, count)
  redis.call('HSET', states, id, v .. ' ' .. status .. ' ' .. last .. ' ' .. count)
  if status == 'on' and next_ms ~= '' then redis.call('ZADD', ticks, next_ms, id) else redis.call('ZREM', ticks, id) end
  redis.call('SPUBLISH', ARGV[7], 'schedules')
end
local state = redis.call('HGET', states, id)
local v, status, last, count
if state then v, status, last, count = string.match(state, '^(%S+) (%S+) (%S+) (%S+)$') end

if what == 'declare' or what == 'upsert' then
  if status == 'removed' and what == 'declare' and v == version then return 'removed' end
  if status and status ~= 'removed' and v == version then return 'same' end
  redis.call('HSET', specs, id, spec)
  -- A paused schedule stays paused when its definition changes; a removed one begins anew.
  store(version, status == 'paused' and 'paused' or 'on', last or '0', status == 'removed' and '0' or count or '0')
  return state and 'changed' or 'new'
end
if not state or status == 'removed' then return 'unknown' end
if what == 'remove' then
  redis.call('HDEL', specs, id)
  store(v, 'removed', last, count)
  return 'changed'
end
local wanted = what == 'pause' and 'paused' or 'on'
if status == wanted then return 'same' end
store(v, wanted, last, count)
return 'changed'
