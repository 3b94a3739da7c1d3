-- counts: how many jobs are where, in one moment. O(1): lengths and counters, never a scan.
-- KEYS: 1 meta hash; 2-6 lane streams; 7 taken stream; 8 delayed zset; 9 parked zset; 10 dead index hash;
--   11 index hash; 12 window list; 13 jobs zset of the lines
-- ARGV: 1 protocol
-- Reply: {now ms, meta fields and values, entries, pending, delayed, parked, dead, unsettled, oldest entry id or '',
--   window, {entries per lane}, {pending per lane}, delayed jobs whose time has come, jobs in lines}
-- Errors: SQVERSION. Replay: reads only.
local refused = wrong_protocol(redis.call('HGET', KEYS[1], PROTOCOL_FIELD), ARGV[1])
if refused then return refused end
local entries, pending, oldest, by_lane, pending_by_lane = 0, 0, '', {}, {}
for n = 2, 7 do
  local length, held = redis.call('XLEN', KEYS[n]), 0
  if length > 0 then
    local last
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', KEYS[n])) do
      for f = 1, #info - 1, 2 do
        if info[f] == 'pending' then held = info[f + 1] end
        if info[f] == 'last-delivered-id' then last = info[f + 1] end
      end
    end
    local first = redis.call('XRANGE', KEYS[n], last and '(' .. last or '-', '+', 'COUNT', 1)[1]
    if first then
      local ms = tonumber(string.match(first[1], '^%d+'))
      if oldest == '' or ms < tonumber(string.match(oldest, '^%d+')) then oldest = first[1] end
    end
  end
  entries = entries + length
  pending = pending + held
  by_lane[n - 1] = length
  pending_by_lane[n - 1] = held
end
return {
  whole(now_ms()), redis.call('HGETALL', KEYS[1]), entries, pending, redis.call('ZCARD', KEYS[8]),
  redis.call('ZCARD', KEYS[9]), redis.call('HLEN', KEYS[10]), redis.call('HLEN', KEYS[11]), oldest,
  redis.call('LLEN', KEYS[12]), by_lane, pending_by_lane, redis.call('ZCOUNT', KEYS[8], '-inf', whole(now_ms())),
  redis.call('ZCARD', KEYS[13]),
}
