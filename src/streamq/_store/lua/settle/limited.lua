-- limited: its provider said "too many". It goes back to its place in its line, and the gate of that provider stays
-- shut for as long as it was told; jobs of other gates go on. The token stays spent: a start is a start. Only for jobs
-- that came from a line.
-- Item: ms to keep the gate shut; gate; envelope.
local function limited(batch, item, wait, name, envelope)
  redis.call('HSET', batch.bodies, item.id, envelope)
  batch.count('limited', 1)
  local g = flow.gate(name)
  g.shut, g.shut_at = math.max(g.shut, batch.now + wait), batch.now
  item.held[8] = 0 -- its stalls are forgotten with the attempt
  batch.move(item, flow.add(item.id, item.held[15], item.held))
end
