-- watch: whose turn it is to judge the alert rules of a queue, and how they stand: one looks for all of its workers.
-- KEYS: 1 alerts hash
-- ARGV: 1 who; 2 ms a turn lasts; 3 what: 'turn' (take or keep it), 'put' (how the rules stand now) or 'leave' (give it
--   up); 4 version that was read; 5 how the rules stand
-- Reply: {now ms, 1 the turn is ours or 0, ms until it ends, version, how the rules stand}
-- Fence: only whose turn it is may put, and only on top of the version that was read. Replay: a put that was done
--   already finds its own words under the next version, and is answered as it was then.
local alerts, who = KEYS[1], ARGV[1]
local a = redis.call('HMGET', alerts, 'who', 'till', 'version', 'rules')
local now, till = now_ms(), tonumber(a[2] or '0')
local version, rules = a[3] or '0', a[4] or ''
local is_ours = a[1] == who and till > now
if ARGV[3] == 'leave' then
  if a[1] == who then redis.call('HDEL', alerts, 'who', 'till') end
  return {whole(now), 0, 0, version, rules}
end
if not is_ours and till > now and till - now <= tonumber(ARGV[2]) then
  return {whole(now), 0, till - now, version, rules}
end
-- Nobody's, ours, or one that would last longer than any: the server's clock was set back.
till = now + tonumber(ARGV[2])
redis.call('HSET', alerts, 'who', who, 'till', whole(till))
if ARGV[3] == 'put' and is_ours and version == ARGV[4] then
  version, rules = whole(version + 1), ARGV[5]
  redis.call('HSET', alerts, 'version', version, 'rules', rules)
end
return {whole(now), 1, till - now, version, rules}
