-- park: nobody here can run it. It leaves the stream and waits under its name for a worker that can (unpark).
-- Item: lane 0-4; name it is parked under.
local function park(batch, item, lane, name)
  redis.call('HSET', batch.bodies, item.id, body_of(item.key, item.entry))
  redis.call('ZADD', batch.parked, 0, name .. '\0' .. item.id)
  -- The row keeps the take, so that the fence goes on rising when somebody takes the job.
  local row = 'p' .. lane .. name .. '\0' .. string.match(item.token, ':(%d+)')
  batch.move(item, item.held and flow.with_record(row, item.held) or row)
end
