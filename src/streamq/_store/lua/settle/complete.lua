-- complete: the handler returned. Leaves a place in the bounded window, and a record when there is a value to keep.
-- Item: detail ('finished_ms attempt duration_ms name'); with a value ('C') also the record.
local function complete(batch, item, detail, record)
  if batch.window > 0 then
    local details, id = batch.details, item.id
    batch.recent[#batch.recent + 1] = id
    details[#details + 1] = id
    details[#details + 1] = detail
  end
  if record then redis.call('SET', item.record, record, 'PX', batch.result_ms) end
  batch.count('completed', 1)
  batch.leave(item)
  batch.ended(item.id, record and 'r' or 'n')
end
