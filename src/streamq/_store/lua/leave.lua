-- leave: a stopped worker takes its traces away, if it holds nothing any more.
-- KEYS: 1 workers hash; 2 beats zset; 3-7 lane streams; 8 taken stream; 9 memo string
-- ARGV: 1 consumer
-- Reply: entries it still holds; with 0 its consumers, heartbeat and memo are gone. Replay: nothing left to do.
-- XGROUP DELCONSUMER destroys pending entries, so the count and the removal are one step.
local holds = 0
for n = 3, 8 do
  if redis.call('EXISTS', KEYS[n]) == 1 then
    local mine = redis.pcall('XPENDING', KEYS[n], 'w', '-', '+', 500, ARGV[1])
    if not mine.err then holds = holds + #mine end
  end
end
redis.call('HDEL', KEYS[1], ARGV[1])
if holds == 0 then
  for n = 3, 8 do
    if redis.call('EXISTS', KEYS[n]) == 1 then redis.pcall('XGROUP', 'DELCONSUMER', KEYS[n], 'w', ARGV[1]) end
  end
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('DEL', KEYS[9])
end
return holds
