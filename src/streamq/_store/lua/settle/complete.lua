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

-- Puts what completed into the window, newest first. Fewer new details than jobs: a custom id ran again, and the window
-- names it by its last run. Where it was is looked for in a million entries at most: of a huge window not for all.
local function keep_recent(batch, window, details)
  local recent = batch.recent
  local again = #recent - redis.call('HSET', details, unpack(batch.details))
  local looks = again > 0 and math.ceil(1000000 / (redis.call('LLEN', window) + 1)) or 0
  for n = 1, math.min(#recent, looks) do
    if again > 0 then again = again - redis.call('LREM', window, -1, recent[n]) end
  end
  redis.call('LPUSH', window, unpack(recent))
end

-- What complete does, for all items of a batch that leave no value, in one loop without a call: they are most of what
-- is ever settled. Answers them and returns the numbers of the others; in the build for lines those are all. The first
-- item of a job counts: when that is one of the others, so are the rest.
local function complete_plain(batch, ids, rows, starts, answers, done)
  local others, recent, details, acks, gone = {}, batch.recent, batch.details, batch.acks, batch.gone
  local keeps, waited_for, find, sub, k = batch.window > 0, batch.waited_for, string.find, string.sub, 0
  for n = 1, #ids do
    local first, id, row = starts[n], ids[n], rows[n]
    if flow or row ~= ARGV[first + 2] or ARGV[first] ~= 'c' or done[id] or others[id] then
      others[#others + 1], others[id] = n, true
    else
      k = k + 1
      local lane, entry = sub(row, 1, 1), sub(row, 2, find(row, ':', 1, true) - 1)
      local entries = acks[lane]
      if entries then entries[#entries + 1] = entry else acks[lane] = {entry} end
      if keeps then recent[k], details[2 * k - 1], details[2 * k] = id, id, ARGV[first + 3] end
      if waited_for then batch.ended(id, 'n') end
      gone[k], done[id], answers[n] = id, true, 'a'
    end
  end
  if k > 0 then batch.count('completed', k) end
  return others
end
