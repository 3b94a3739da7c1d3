-- retry: back among the delayed with a new envelope, whether failed, snoozed or rate limited. The stream entry goes, so
-- a long backoff pins no memory of the lane. Also for no wait at all: a re-run then overwrites and never doubles.
-- Item: when ('+ms' or '@ms'); lane 0-4; envelope; counter name.
local function retry(batch, item, when, lane, envelope, counter)
  local due = due_ms(when, batch.now)
  redis.call('HSET', batch.bodies, item.id, envelope)
  batch.count(counter, 1)
  if counter == 'retried' then batch.count('failed', 1) end
  if item.held and item.held[4] then
    -- The ordered line waits for its head, so that its order survives retries.
    item.held[8] = 0 -- its stalls are forgotten with the attempt
    batch.move(item, flow.add(item.id, lane, item.held, due))
    return
  end
  redis.call('ZADD', batch.delayed, whole(due), item.id)
  if not batch.first_due or due < batch.first_due then batch.first_due = due end
  batch.move(item, item.held and flow.delayed(lane, item.held) or 'd' .. lane)
end
