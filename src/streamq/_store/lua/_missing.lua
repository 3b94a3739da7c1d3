-- Shared by the verbs that read envelopes from the bodies: what becomes of a job of which a foreign hand took a part.
-- Nothing is dropped silently. Prepended by scripts.py.

-- The lane that an envelope names.
local function lane_of(body)
  local ok, envelope = pcall(cmsgpack.unpack, body)
  local lane = ok and type(envelope) == 'table' and tonumber(envelope.l)
  return lane and lane >= 0 and lane <= 4 and string.format('%d', lane) or '2'
end

-- Without its envelope it is told as a dead letter. Nobody waits for it or asks it to stop any more: who waits looks
-- again within two seconds. From a key of another type nothing is taken, for an error here would come after writes.
local function bury_missing(id, meta, index, dead, dead_index, waiters, cancels, died_of)
  if redis.call('HEXISTS', dead_index, id) == 0 then
    add_letter(dead, dead_index, died_of, id, '', 'body missing')
    redis.call('HINCRBY', meta, 'dead', 1)
  end
  redis.call('HDEL', index, id)
  redis.pcall('HDEL', waiters, id)
  if redis.pcall('HDEL', cancels, id) == 1 and redis.call('HINCRBY', meta, 'cancels', -1) < 1 then
    redis.call('HDEL', meta, 'cancels')
  end
end
