-- schedules: lists schedules, all or those whose tick is due.
-- KEYS: 1 specs hash; 2 states hash; 3 ticks zset
-- ARGV: 1 'due' or 'all'; 2 most to list (1-500); 3 cursor of 'all' ('0' at first)
-- Reply: {now ms, next tick ms or -1, cursor, {id, spec, state, next tick ms or ''}, ...}. Replay: reads only.
local now = now_ms()
local ids, cursor = {}, '0'
if ARGV[1] == 'due' then
  ids = redis.call('ZRANGE', KEYS[3], '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, ARGV[2])
else
  local page = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[2])
  cursor = page[1]
  for n = 1, #page[2], 2 do ids[#ids + 1] = page[2][n] end
end
local head = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local reply = {whole(now), head[2] or '-1', cursor}
for _, id in ipairs(ids) do
  local spec, state = redis.call('HGET', KEYS[1], id), redis.call('HGET', KEYS[2], id)
  if spec and state then
    reply[#reply + 1] = {id, spec, state, redis.call('ZSCORE', KEYS[3], id) or ''}
  else
    redis.call('ZREM', KEYS[3], id)
  end
end
return reply
