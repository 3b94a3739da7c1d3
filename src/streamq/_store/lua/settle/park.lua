-- park: nobody here can run it. It leaves the stream and waits under its name for a worker that can (unpark).
-- Item: lane 0-4; name it is parked under.
local function park(batch, item, lane, name)
  local found = redis.call('XRANGE', item.key, item.entry, item.entry)
  local fields = found[1] and found[1][2] or {}
  for n = 1, #fields - 1, 2 do
    if fields[n] == 'd' then redis.call('HSET', batch.bodies, item.id, fields[n + 1]) end
  end
  redis.call('ZADD', batch.parked, 0, name .. '\0' .. item.id)
  -- The row keeps the take, so that the fence goes on rising when somebody takes the job.
  batch.move(item, 'p' .. lane .. name .. '\0' .. string.match(item.token, '%d+$'))
end
