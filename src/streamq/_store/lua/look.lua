-- look: where a job is, and what is known of it; registers a waiter in the same step, so that no end is missed.
-- KEYS: 1 index hash; 2-6 lane streams; 7 taken stream; 8 bodies hash; 9 record string; 10 dead index hash;
--   11 dead stream; 12 window hash; 13 waiters hash; 14 delayed zset
-- ARGV: 1 id; 2 waiter channel suffix ('' registers none); 3 1 to send the envelope along, 0 for the place only
-- Reply: {place, ...}: {'row', row, envelope or '', deliveries, consumer, idle ms, due ms} (deliveries 0: not active);
--   {'record', record}; {'dead', entry id, fields}; {'window', detail}; {'absent'}. Replay: looks again.
local id, channel, full = ARGV[1], ARGV[2], ARGV[3] == '1'
local row = redis.call('HGET', KEYS[1], id)
if not row then
  local entry = redis.call('HGET', KEYS[10], id)
  if full and entry then
    local found = redis.call('XRANGE', KEYS[11], entry, entry)[1]
    if found then return {'dead', entry, found[2]} end
  end
  local record = redis.call('GET', KEYS[9])
  if record then return {'record', record} end
  if entry then return {'dead', entry, {}} end
  local detail = redis.call('HGET', KEYS[12], id)
  if detail then return {'window', detail} end
  return {'absent'}
end
if channel ~= '' then
  local who = redis.call('HGET', KEYS[13], id)
  if not who then
    redis.call('HSET', KEYS[13], id, channel)
  elseif not string.find(',' .. who .. ',', ',' .. channel .. ',', 1, true) then
    redis.call('HSET', KEYS[13], id, who .. ',' .. channel)
  end
end
local place = string.sub(row, 1, 1)
if not (place == 't' or string.find(place, '%d')) then
  local due = place == 'd' and redis.call('ZSCORE', KEYS[14], id) or '0'
  return {'row', row, full and redis.call('HGET', KEYS[8], id) or '', 0, '', 0, due}
end
local key = place == 't' and KEYS[7] or KEYS[2 + place]
local entry = string.sub(row, 2, string.find(row, ':', 1, true) - 1)
local body = ''
if full then
  body = body_of(key, entry)
end
local pending = redis.pcall('XPENDING', key, 'w', entry, entry, 1)
if pending.err or not pending[1] or pending[1][2] == '~' then return {'row', row, body, 0, '', 0, '0'} end
return {'row', row, body, pending[1][4], pending[1][2], pending[1][3], '0'}
