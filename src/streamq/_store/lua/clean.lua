-- clean: forgets the oldest completed jobs of the window.
-- KEYS: 1 window list; 2 window hash
-- ARGV: 1 age ms; 2 most to forget (1-500)
-- Reply: number forgotten. Replay: forgets what is left of it.
local limit, now, gone = tonumber(ARGV[2]), now_ms(), 0
while gone < limit do
  local oldest = redis.call('LINDEX', KEYS[1], -1)
  if not oldest then break end
  local detail = redis.call('HGET', KEYS[2], oldest)
  if detail and tonumber(string.match(detail, '^%d+')) > now - tonumber(ARGV[1]) then break end
  redis.call('RPOP', KEYS[1])
  redis.call('HDEL', KEYS[2], oldest)
  gone = gone + 1
end
return gone
