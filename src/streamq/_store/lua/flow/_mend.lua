-- For recover: how a job, an entry, a letter is mended. Each is called in the step that looked at it (flow/_facts.lua).
-- Nothing that still has its envelope is dropped: it waits again, at its place if that is known.
local index, delayed, dead, dead_index = KEYS[2], KEYS[9], KEYS[11], KEYS[12]
local mend, woke = {}, false

local function into_lane(id, lane, body)
  redis.call('HSET', index, id, lane .. redis.call('XADD', lane_keys[lane], '*', 'j', id, 'd', body) .. ':0')
  woke = true
end

local function bury(id, body, reason, ...)
  if redis.call('HEXISTS', dead_index, id) == 1 then return end
  add_letter(dead, dead_index, KEYS[18], id, body, reason, ...)
  redis.call('HINCRBY', KEYS[1], 'dead', 1)
end

local function out_of_stream(key, entry)
  redis.pcall('XACK', key, 'w', entry)
  redis.call('XDEL', key, entry)
end

-- A job whose envelope is among the bodies, and that is not where its row says.
function mend.place(id)
  local row, body = redis.call('HGET', index, id) or '', redis.call('HGET', K.bodies, id)
  local place, r, lane = string.sub(row, 1, 1), record_in(row), lane_of(body)
  if redis.call('ZSCORE', delayed, id) then
    if r and place == 't' then flow.free(id, r) end
    redis.call('HSET', index, id, r and flow.delayed(lane, r) or 'd' .. lane)
  elseif place == 'd' then
    redis.call('ZADD', delayed, whole(now), id)
  elseif place == 'p' then
    redis.call('ZADD', KEYS[10], 0, name_in(row) .. '\0' .. id)
  elseif r then
    if place == 't' then flow.free(id, r) end
    redis.call('HSET', index, id, flow.add(id, place == 't' and lane or string.sub(row, 2, 2), r))
  else
    into_lane(id, lane, body)
    redis.call('HDEL', K.bodies, id)
  end
end

-- A job of which nothing but its row is left: told as a dead letter, not dropped silently.
function mend.bury(id)
  local row = redis.call('HGET', index, id) or ''
  local place, r = string.sub(row, 1, 1), record_in(row)
  if r and place == 'f' then flow.remove(id, row) end
  if r and place == 't' then flow.free(id, r) end
  if place == 'p' then redis.call('ZREM', KEYS[10], name_in(row) .. '\0' .. id) end
  redis.call('ZREM', delayed, id)
  bury(id, redis.call('HGET', K.bodies, id) or '', 'body missing')
  redis.call('HDEL', index, id)
  redis.call('HDEL', K.bodies, id)
end

-- An entry becomes a waiting job: what a silent worker holds is released, what is never handed out again is put anew.
function mend.wait(lane, entry)
  local key, place = lane_keys[lane], lane .. entry .. ':'
  local id = entry_of(key, entry)
  local row, owner, _, count = redis.call('HGET', index, id) or '', holder(key, entry)
  local is_same = string.sub(row, 1, #place) == place
  woke = true
  if is_same and record_in(row) then
    -- From a line, and back to its place in it.
    flow.put_back(index, key, entry, record_in(row)[R_STALLS])
  elseif owner ~= '' then
    redis.call('HSET', index, id, place .. whole((is_same and tonumber(string.match(row, ':(%d+)')) or count) + 1))
    redis.call('XCLAIM', key, 'w', '~', 0, entry, 'IDLE', 0, 'JUSTID')
    redis.call('HINCRBY', KEYS[1], 'released', 1)
  elseif lane ~= 't' and not is_past(key, entry) then
    redis.call('HSET', index, id, place .. '0')
  else
    local body = body_of(key, entry)
    into_lane(id, lane == 't' and lane_of(body) or lane, body)
    redis.call('XDEL', key, entry)
  end
end

-- An entry that is no job: a dead letter as found.
function mend.raw(lane, entry)
  local found, raw = redis.call('XRANGE', lane_keys[lane], entry, entry)[1][2], {}
  for n = 1, math.min(#found, 20) do raw[n] = string.sub(found[n], 1, 16384) end
  bury('raw-' .. lane .. entry, '', 'not a job', 'raw', table.concat(raw, ' '))
  out_of_stream(lane_keys[lane], entry)
end
