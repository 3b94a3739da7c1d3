-- end: over without a dead letter: discarded, cancelled while it ran, or expired before it could start.
-- Item: state ('cancelled' or 'expired'); record.
local function finish(batch, item, state, record)
  redis.call('SET', item.record, record, 'PX', batch.result_ms)
  batch.count(state, 1)
  batch.leave(item)
  batch.ended(item.id, 'r')
end
