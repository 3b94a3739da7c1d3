-- schedules: lists schedules: those whose tick is due, all of them by rank of their next tick, or some by id.
-- KEYS: 1 meta hash; 2 specs hash; 3 states hash; 4 ticks zset
-- ARGV: 1 'due', 'all' or 'ids'; 2 first rank; 3 most to list (1-500); 4.. ids
-- Reply: {now ms, next tick ms after now or '+inf', schedules ever known, listable ones, scheduler that fired last,
--   {id, spec, state, tick ms or '+inf'}, ...}; spec and tick are '' for a removed one. Replay: reads only.
local specs, states, ticks = KEYS[2], KEYS[3], KEYS[4]
local now = whole(now_ms())
local first, most, ids = tonumber(ARGV[2]), tonumber(ARGV[3]), {}
if ARGV[1] == 'due' then
  ids = redis.call('ZRANGE', ticks, '-inf', now, 'BYSCORE', 'LIMIT', first, most)
elseif ARGV[1] == 'all' then
  ids = redis.call('ZRANGE', ticks, first, first + most - 1)
else
  for n = 4, #ARGV do ids[#ids + 1] = ARGV[n] end
end
local head = redis.call('ZRANGE', ticks, '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
local holder = redis.call('HGET', KEYS[1], 'ticker') or ''
local reply = {now, head[2] or '+inf', redis.call('HLEN', states), redis.call('ZCARD', ticks), holder}
for _, id in ipairs(ids) do
  local spec, state = redis.call('HGET', specs, id), redis.call('HGET', states, id)
  if state then reply[#reply + 1] = {id, spec or '', state, redis.call('ZSCORE', ticks, id) or ''} end
end
return reply
