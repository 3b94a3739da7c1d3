-- bury: to the dead letters, in the same step as the ack. Guarded by the dead index, so that a re-run never doubles.
-- Item: reason; envelope with the error history; 1 if an attempt failed, else 0; label of what it died of; record.
local function bury(batch, item, reason, envelope, failed, wanted, record)
  if redis.call('HEXISTS', batch.dead_index, item.id) == 0 then
    batch.deaths = batch.deaths or deaths(batch.died_of)
    local label = batch.deaths.label(wanted)
    local fields = {'j', item.id, 'd', envelope, 'r', reason, 'w', batch.consumer, 'g', label}
    if item.held then -- so that a replay finds its line again
      fields[11], fields[12] = 'f', cmsgpack.pack(item.held)
    end
    local entry = redis.call('XADD', batch.dead, '*', unpack(fields))
    redis.call('HSET', batch.dead_index, item.id, entry)
    batch.deaths.add(label, item.id, entry)
    batch.count('dead', 1)
    if failed == '1' then batch.count('failed', 1) end
  end
  redis.call('SET', item.record, record, 'PX', batch.result_ms)
  batch.leave(item)
  batch.ended(item.id, 'r')
end

-- A stream entry that is no job of ours (no id, or no row): dead-lettered as found. Fence: pending for this consumer.
-- Who claimed it gave it a row, if it has an id; that goes with it.
-- Item: reason; label of what it died of.
local function bury_raw(batch, item, reason, wanted)
  local found = redis.call('XRANGE', item.key, item.entry, item.entry)
  if found[1] and redis.call('HEXISTS', batch.dead_index, item.id) == 0 then
    local fields = found[1][2]
    local raw = {}
    for n = 1, math.min(#fields, 20) do raw[n] = string.sub(fields[n], 1, 16384) end
    batch.deaths = batch.deaths or deaths(batch.died_of)
    local label = batch.deaths.label(wanted)
    local entry = redis.call('XADD', batch.dead, '*', 'j', item.id, 'd', '', 'r', reason, 'w', batch.consumer,
      'g', label, 'raw', table.concat(raw, ' '))
    redis.call('HSET', batch.dead_index, item.id, entry)
    batch.deaths.add(label, item.id, entry)
    batch.count('dead', 1)
  end
  local fields, place, id = found[1] and found[1][2] or {}, item.lane .. item.entry .. ':', nil
  for n = 1, #fields - 1, 2 do
    if fields[n] == 'j' then id = fields[n + 1] end
  end
  local row = id and redis.call('HGET', batch.index, id)
  if row and string.sub(row, 1, #place) == place then batch.gone[#batch.gone + 1] = id end
  batch.leave(item)
  batch.ended(item.id, 'r')
end
