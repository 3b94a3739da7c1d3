-- retry: back among the delayed with a new envelope, whether failed, snoozed or rate limited. The stream entry goes, so
-- a long backoff pins no memory of the lane. Also for no wait at all: a re-run then overwrites and never doubles.
-- Item: when ('+ms' or '@ms'); lane 0-4; envelope; counter name.
local function retry(batch, item, when, lane, envelope, counter)
  local due = due_ms(when, batch.now)
  redis.call('HSET', batch.bodies, item.id, envelope)
  redis.call('ZADD', batch.delayed, whole(due), item.id)
  if not batch.first_due or due < batch.first_due then batch.first_due = due end
  batch.count(counter, 1)
  if counter == 'retried' then batch.count('failed', 1) end
  batch.move(item, 'd' .. lane)
end
