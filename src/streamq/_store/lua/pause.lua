-- pause: from now on no fetch hands out a job of this queue; running ones go on.
-- KEYS: 1 meta hash; 2 bell list
-- ARGV: 1 reason (any text); 2 1 to pause, 0 to resume; 3 protocol
-- Reply: 1 when this changed something, else 0. Replay: changes nothing.
local refused = wrong_protocol(redis.call('HGET', KEYS[1], PROTOCOL_FIELD), ARGV[3])
if refused then return refused end
if ARGV[2] == '1' then
  local was = redis.call('HEXISTS', KEYS[1], 'paused')
  -- Pausing again without a reason keeps the one that was given.
  if was == 0 or ARGV[1] ~= '' then redis.call('HSET', KEYS[1], 'paused', whole(now_ms()) .. ' ' .. ARGV[1]) end
  redis.call('DEL', KEYS[2])
  return 1 - was
end
local changed = redis.call('HDEL', KEYS[1], 'paused')
if changed == 1 then ring(KEYS[2]) end
return changed
