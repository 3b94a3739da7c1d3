-- divert: a job that was handed out without gates it needs by now (a live limit, a block, a producer that did not know)
-- moves to its line. No attempt, no stall; jobs of a lane keep their order there.
-- Item: lane 0-4; record for its index row (flow/_lines.lua).
local function divert(batch, item, lane, record)
  redis.call('HSET', batch.bodies, item.id, body_of(item.key, item.entry))
  local r, held = cmsgpack.unpack(record), item.held
  if held then
    keep_stalls(item)
    r[7], r[8], r[14] = held[7], held[8], held[14]
  else
    local ms, n = string.match(item.entry, '^(%d+)%-(%d+)$')
    r[14] = tonumber(string.match(item.token, ':(%d+)')) or 0
    r[7], r[8] = ms * 2048 + math.min(tonumber(n), 2047), stalls_of(item)
  end
  batch.move(item, flow.add(item.id, lane, r))
end
