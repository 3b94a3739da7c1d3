-- emit: adds events to the stream of what happened in a queue, a batch once per (writer, seq).
-- KEYS: 1 events stream; 2 memo string of this writer
-- ARGV: 1 seq; 2 memo lifetime ms; 3 how many events to keep, about; then per event: kind; job id; name; data (JSON)
-- Reply: string, how many were added. Errors: SQSTALE (a later batch was taken already).
-- Replay: the memo holds the reply and is written last; the same seq gets it back and nothing is added.
local events, memo = KEYS[1], KEYS[2]
local known = remembered(memo, ARGV[1])
if known then return known end
expect('s', events)
local added = 0
for n = 4, #ARGV, 4 do
  -- About so many: the server cuts whole nodes of a hundred, which costs nothing.
  redis.call(
    'XADD', events, 'MAXLEN', '~', ARGV[3], '*', 'k', ARGV[n], 'j', ARGV[n + 1], 'n', ARGV[n + 2], 'd', ARGV[n + 3])
  added = added + 1
end
local reply = whole(added)
redis.call('SET', memo, ARGV[1] .. '|' .. reply, 'PX', ARGV[2])
return reply
