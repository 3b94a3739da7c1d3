-- Flow control, for enqueue: debounce puts a delayed job off, with the envelope of the last call.
-- The new envelope of a job that may have run already and waits for its retry. It begins with all its attempts, but
-- fences go on rising: whoever fences by them elsewhere would else refuse it. A field is put into the map for that.
local function with_hop(body, old)
  local ok, before = pcall(cmsgpack.unpack, old or '')
  local hop = ok and type(before) == 'table' and tonumber(before.h) or 0
  -- msgspec writes a map with its size in two bytes.
  if hop <= 0 or string.byte(body) ~= 0xde then return body end
  local high, low = string.byte(body, 2, 3)
  local size = high * 256 + low + 1
  return string.char(0xde, math.floor(size / 256), size % 256) .. string.sub(body, 4) .. '\161h' .. cmsgpack.pack(hop)
end

local function put_off(env, id, lane, body, r, due)
  redis.call('HSET', K.bodies, id, with_hop(body, redis.call('HGET', K.bodies, id)))
  redis.call('ZADD', env.delayed, whole(due), id)
  env.place(id, r and flow.delayed(lane, r) or 'd' .. lane)
  env.due(due)
end
