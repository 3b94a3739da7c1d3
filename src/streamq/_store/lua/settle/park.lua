-- park: nobody here can run it. It leaves the stream and waits under its name for a worker that can (unpark).
-- Item: lane 0-4; name it is parked under.
local function park(batch, item, lane, name)
  redis.call('HSET', batch.bodies, item.id, body_of(item.key, item.entry))
  redis.call('ZADD', batch.parked, 0, name .. '\0' .. item.id)
  -- The row keeps the take, so that the fence goes on rising when somebody takes the job; and its stalls.
  local row = 'p' .. lane .. name .. '\0' .. string.match(item.token, ':(%d+)')
  if item.held then
    keep_stalls(item)
    row = flow.with_record(row, item.held)
  else
    local stalls = stalls_of(item)
    if stalls > 0 then row = row .. ':' .. stalls end
  end
  batch.move(item, row)
end
