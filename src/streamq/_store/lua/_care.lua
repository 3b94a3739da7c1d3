-- For tick: what nobody else looks after.

-- A worker that was not heard of since `before` ms and holds nothing is forgotten; one a call. `lanes`: {letter, key,
-- pending = whether anything of it is held}.
local function forget_silent(lanes, workers, beats, before)
  local silent = redis.call('ZRANGE', beats, '-inf', whole(before), 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not silent then return end
  for _, lane in ipairs(lanes) do
    if lane.pending and #redis.call('XPENDING', lane[2], 'w', '-', '+', 1, silent) > 0 then return end
  end
  for _, lane in ipairs(lanes) do redis.pcall('XGROUP', 'DELCONSUMER', lane[2], 'w', silent) end
  redis.call('HDEL', workers, silent)
  redis.call('ZREM', beats, silent)
end

-- Consumers without a beat would never be forgotten: they took jobs after the beats were lost, and were killed before
-- they beat again. From now on their silence is counted. Told by each worker's first tick, the first after a loss too.
local function hear_of_all(lanes, beats, now)
  for _, lane in ipairs(lanes) do
    local found = redis.pcall('XINFO', 'CONSUMERS', lane[2], 'w')
    for _, info in ipairs(found.err and {} or found) do
      local name = info[2]
      if name ~= '~' and name ~= '!' and not redis.call('ZSCORE', beats, name) then
        redis.call('ZADD', beats, whole(now), name)
      end
    end
  end
end

-- Whose turn it is to promote; of who was not heard of for three ticks `consumer` takes it over.
local function promoter(meta, beats, turn, consumer, now)
  local heard = turn and redis.call('ZSCORE', beats, turn)
  if heard and math.abs(now - tonumber(heard)) <= 6000 then return turn end
  redis.call('HSET', meta, 'turn', consumer)
  return consumer
end

-- The window of completed jobs has an age (ms, 0 none), too; 100 a call.
local function forget_old(window, details, age, now)
  for _ = 1, age > 0 and 100 or 0 do
    local oldest = redis.call('LINDEX', window, -1)
    if not oldest then return end
    local detail = redis.call('HGET', details, oldest)
    if detail and tonumber(string.match(detail, '^%d+')) > now - age then return end
    redis.call('RPOP', window)
    redis.call('HDEL', details, oldest)
  end
end
