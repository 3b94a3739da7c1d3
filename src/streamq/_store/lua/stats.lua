-- stats: counters since the queue began, and those of some ten minutes. Each is a hash of bounded size.
-- KEYS: 1 counters hash; 2 meta hash; 3 ticks zset; 4.. ten minutes hash
-- ARGV: none
-- Reply: {now ms, counters and their values, schedules, next tick ms or '', ticks missed, {fields and values of each
--   ten minutes}}
-- Replay: reads only.
local first, minutes = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES'), {}
for n = 4, #KEYS do minutes[n - 3] = redis.call('HGETALL', KEYS[n]) end
return {
  whole(now_ms()), redis.call('HGETALL', KEYS[1]), redis.call('ZCARD', KEYS[3]), first[2] or '',
  redis.call('HGET', KEYS[2], 'missed') or '0', minutes,
}
