-- complete: the handler returned. Leaves a place in the bounded window, and a record when there is a value to keep.
-- Item: detail ('attempt duration_ms name'); with a value ('C') also the record.
local function complete(batch, item, detail, record)
  if batch.window > 0 then
    batch.recent[#batch.recent + 1] = item.id
    batch.details[#batch.details + 1] = item.id
    batch.details[#batch.details + 1] = batch.now_text .. ' ' .. detail
  end
  if record then redis.call('SET', item.record, record, 'PX', batch.result_ms) end
  batch.count('completed', 1)
  batch.leave(item)
  batch.ended(item.id, record and 'r' or 'n')
end
