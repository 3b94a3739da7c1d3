-- deaths: what the dead letters died of and how many did, in one moment.
-- KEYS: 1 deaths hash; 2 dead stream
-- ARGV: none
-- Reply: {now ms, dead letters, label, what is counted, ...} as in _deaths.lua; '#' is among the labels while they are
--   counted anew. Replay: reads only.
-- Bounded: some thousand labels.
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, redis.call('XLEN', KEYS[2]))
table.insert(reply, 1, whole(now_ms()))
return reply
