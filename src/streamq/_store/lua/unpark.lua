-- unpark: takes parked jobs whose names the calling worker has handlers for; through the taken stream, so that no
-- worker without the handler can get them again; those with gates go back to their lines.
-- KEYS: 1 meta hash; 2 index hash; 3 taken stream; 4 bodies hash; 5 parked zset; 6 dead stream; 7 dead index hash;
--   8 waiters hash; 9 deaths hash; 10.. keys of flow control
-- ARGV: 1 protocol; 2 consumer; 3 want (1-500); 4 suspects allowed (0 or 1); 5.. names (500 at most a call)
-- Reply: {now ms, {lane, entry, fields, token, count}, ...}; count - 1 are its stalls. Replay: those of the lost reply
--   are ghosts (reconcile).
local meta, index, taken, bodies, parked = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local consumer, want, suspects = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
local reply = {whole(now_ms())}
if m[2] then return reply end
flow.open(10, meta, m[3])
expect('s', KEYS[6], 'h', KEYS[7]) -- before anything is written
local groups = redis.call('EXISTS', taken) == 1 and redis.call('XINFO', 'GROUPS', taken) or {}
if #groups == 0 then make_taken_group(meta, taken) end
for n = 5, #ARGV do
  if want <= 0 then break end
  local name = ARGV[n]
  local members = redis.call('ZRANGE', parked, '[' .. name .. '\0', '(' .. name .. '\1', 'BYLEX', 'LIMIT', 0, want)
  for _, member in ipairs(members) do
    local id = string.sub(member, #name + 2)
    local row, body = redis.call('HGET', index, id), redis.call('HGET', bodies, id)
    local r, is_left = row and body and flow.record_of(row), false
    if r and string.sub(row, 1, 1) == 'p' then
      redis.call('HSET', index, id, flow.add(id, string.sub(row, 2, 2), r))
    elseif row and string.sub(row, 1, 1) == 'p' and body then
      local take, stalls = string.match(row, '%z(%d+):?(%d*)$')
      stalls = tonumber(stalls) or 0
      -- A suspect waits for its turn: they run one at a time.
      is_left = stalls >= 2 and suspects <= 0
      if not is_left then
        if stalls >= 2 then suspects = suspects - 1 end
        redis.call('XADD', taken, '*', 'j', id, 'd', body)
        local got = redis.call('XREADGROUP', 'GROUP', 'w', consumer, 'COUNT', 1, 'STREAMS', taken, '>')[1][2][1]
        if stalls > 0 then redis.call('XCLAIM', taken, 'w', consumer, 0, got[1], 'RETRYCOUNT', stalls + 1, 'JUSTID') end
        local token = 't' .. got[1] .. ':' .. (take or 0) + 1
        redis.call('HSET', index, id, token)
        redis.call('HDEL', bodies, id)
        reply[#reply + 1] = {'t', got[1], got[2], token, stalls + 1}
        want = want - 1
      end
    elseif row and string.sub(row, 1, 1) == 'p' then
      bury_missing(id, meta, index, KEYS[6], KEYS[7], KEYS[8], flow.keys.cancels, KEYS[9])
    end
    if not is_left then redis.call('ZREM', parked, member) end
  end
end
if flow.save() then ring(flow.keys.bell) end
return reply
