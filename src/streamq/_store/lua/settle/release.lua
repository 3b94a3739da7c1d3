-- release: a stopping worker hands a job back. The entry keeps its place and delivery count and waits with the
-- pseudo-consumer ~ for the next fetch; take + 1 shuts out a zombie that still runs it. Charges nobody an attempt.
local function release(batch, item)
  if item.held then
    keep_stalls(item)
    -- It waited in a line: back to its place there.
    redis.call('HSET', batch.bodies, item.id, body_of(item.key, item.entry))
    batch.move(item, flow.add(item.id, item.held[15], item.held))
    return
  end
  local place, take = string.match(item.token, '^(.*:)(%d+)$')
  redis.call('HSET', batch.index, item.id, place .. (take + 1))
  redis.call('XCLAIM', item.key, 'w', '~', 0, item.entry, 'IDLE', 0, 'JUSTID')
  batch.count('released', 1)
  batch.wake = true
end
