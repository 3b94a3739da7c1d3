-- schedules: lists schedules: those whose tick is due, all of them by rank of their next tick, or some by id.
-- KEYS: 1 meta hash; 2 specs hash; 3 states hash; 4 ticks zset
-- ARGV: 1 protocol; 2 'due', 'all' or 'ids'; 3 first rank; 4 most to list (1-500); 5 scheduler that asks for what is
--   due, else ''; 6.. ids
-- Reply: {now ms, next tick ms after now or '+inf', schedules ever known, listable ones, scheduler whose turn it is,
--   {id, spec, state, tick ms or '+inf'}, ...}; spec and tick are '' for a removed one. The turn is a hint: it goes to
--   who asks when its holder has neither asked nor fired for six seconds. Errors: SQVERSION.
-- Replay: reads only, but for the turn.
local specs, states, ticks = KEYS[2], KEYS[3], KEYS[4]
local m = redis.call('HMGET', KEYS[1], PROTOCOL_FIELD, 'ticker')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
local ms = now_ms()
local now, first, most, me, ids = whole(ms), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], {}
if ARGV[2] == 'due' then
  ids = redis.call('ZRANGE', ticks, '-inf', now, 'BYSCORE', 'LIMIT', first, most)
elseif ARGV[2] == 'all' then
  ids = redis.call('ZRANGE', ticks, first, first + most - 1)
else
  for n = 6, #ARGV do ids[#ids + 1] = ARGV[n] end
end
local head = redis.call('ZRANGE', ticks, '(' .. now, '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
local holder, seen = string.match(m[2] or '', '^(%S+) (%d+)$')
local age = seen and math.abs(ms - seen)
local listable = redis.call('ZCARD', ticks)
local mine = me ~= '' and listable > 0 and (not age or age > 6000 or (holder == me and age > 1000))
local reply = {now, head[2] or '+inf', redis.call('HLEN', states), listable, mine and me or holder or ''}
for _, id in ipairs(ids) do
  local spec, state = redis.call('HGET', specs, id), redis.call('HGET', states, id)
  if state then reply[#reply + 1] = {id, spec or '', state, redis.call('ZSCORE', ticks, id) or ''} end
end
if mine then redis.call('HSET', KEYS[1], 'ticker', me .. ' ' .. now) end
return reply
