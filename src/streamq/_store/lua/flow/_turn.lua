-- Flow control, for take: the turn of a line. It takes all gates of its head at once, or none and is parked.
local function blocked(g, l, cost)
  local why, wait = flow.shut(g, cost)
  if why then return why, wait end
  if g.envoy == l.name then return nil end
  if not g.envoy and g.parked > 0 then nudge(g) end
  -- Lines that wait here come first, but for a better lane.
  if g.envoy and l.lane >= g.envoy_lane then return 'queue' end
end

local function leave(job, r)
  redis.call('ZREM', K.jobs, job)
  for _, name in ipairs(r[R_GATES]) do
    local g = gate(name)
    g.waiting = math.max(0, g.waiting - 1)
  end
end

local function first_job(l)
  return redis.call('ZRANGE', K.jobs, l.number, l.number, 'BYSCORE', 'LIMIT', 0, 1)[1]
end

-- Hands a job over that holds no gate: expired, limited, or the follower of a batch.
local function hand_free(job, r, hand, mark)
  leave(job, r)
  r[R_FREE] = true
  hand(string.sub(job, 10), tonumber(string.sub(job, 1, 1)), r, mark)
end

-- A batch is one start, one slot, one token: those of its first item.
local function hand_followers(l, index, hand, leader, size)
  for _, job in ipairs(redis.call('ZRANGE', K.jobs, l.number, l.number, 'BYSCORE', 'LIMIT', 0, size - 1)) do
    local r = record_of(redis.call('HGET', index, string.sub(job, 10)))
    if r then
      hand_free(job, r, hand, leader)
    else
      redis.call('ZREM', K.jobs, job)
    end
  end
end

local function after_turn(l, index, r)
  local batch, rest = r[R_BATCH], jobs_in(l)
  if rest == 0 then return drop(l) end
  out_of_place(l)
  l.tag = charge(r, false)
  if batch and rest < batch[1] then
    local oldest = record_of(redis.call('HGET', index, string.sub(first_job(l), 10)))
    l.since = oldest and oldest[R_SINCE] or now
    hold(l, math.max(now, batch_due(l, batch)))
  else
    into_ring(l)
  end
end

-- The first line of a ring has its turn. `hand(id, lane, record, mark)` puts a job into the taken stream and returns
-- its entry id, nil when it had no body. Returns the places that took: 0 when the line was stopped, moved or empty.
function flow.try(l, index, hand)
  local head = first_job(l)
  if not head then
    drop(l)
    return 0
  end
  local lane, id = tonumber(string.sub(head, 1, 1)), string.sub(head, 10)
  local row = redis.call('HGET', index, id)
  if not row or string.sub(row, 1, 1) ~= 'f' then -- a foreign hand: it waits elsewhere, or nowhere
    redis.call('ZREM', K.jobs, head)
    return 0
  end
  if lane ~= l.lane then
    out_of_place(l)
    l.lane = lane
    into_ring(l)
    return 0
  end
  local r = record_of(row)
  l.cost = r[R_COST]
  if r[R_EXPIRES] > 0 and now >= r[R_EXPIRES] then
    hand_free(head, r, hand, '')
    return 1
  end
  for _, name in ipairs(r[R_GATES]) do
    local g = gate(name)
    local why, wait = blocked(g, l, r[R_COST])
    if (why == 'rate' or why == 'queue') and r[R_LIMIT] ~= 'w' then
      hand_free(head, r, hand, 'limited')
      return 1
    elseif why then
      out_of_place(l)
      local from = no_envoy(l)
      park(l, g, wait)
      if from then nudge(from) end
      return 0
    end
  end
  clock[1] = math.max(clock[1], l.tag)
  local from = no_envoy(l)
  leave(head, r)
  local entry = hand(id, lane, r, r[R_BATCH] and 'batch' or '')
  if entry then
    for _, name in ipairs(r[R_GATES]) do
      local g = gate(name)
      g.used = g.used + 1
      flow.spend(g, r[R_COST])
      if r[R_CONFLICT] == 'c' and string.sub(name, 1, 2) == 'k.' then
        g.holders = g.holders or {}
        g.holders[id] = 1
      end
    end
    if r[R_BATCH] then hand_followers(l, index, hand, entry, r[R_BATCH][1]) end
  end
  after_turn(l, index, r)
  for _, name in ipairs(r[R_GATES]) do nudge(gate(name)) end
  if from then nudge(from) end
  return 1
end

-- The first line of a lane's ring, nil when there is none.
function flow.first_ready(lane)
  while true do
    local name = redis.call('ZRANGE', K.rings[lane], 0, 0)[1]
    if not name then return nil end
    local l = line(name)
    if l and l.state == 'r' and l.lane == lane then return l end
    redis.call('ZREM', K.rings[lane], name) -- of a foreign hand
  end
end

-- Whether its group is ahead of its share: kept out of the reserved places of a worker.
function flow.is_ahead(l) return l.tag > math.max(clock[1], clock[2]) + 0.5 end

-- Who wakes up for the next alarm: one worker gets the exact time, the others a back-up 100 ms later.
function flow.next_alarm(consumer, extra)
  local head = redis.call('ZRANGE', K.clock, 0, 0, 'WITHSCORES')
  local wait = head[2] and math.max(0, tonumber(head[2]) - now) or -1
  if extra and (wait < 0 or extra < wait) then wait = extra end
  if wait < 0 then return -1 end
  local holder, at = string.match(redis.call('HGET', meta_key, 'alarm') or '', '^(%S+) (%d+)$')
  at = tonumber(at)
  if holder and holder ~= consumer and at >= now - 50 and at <= now + wait then return wait + 100 end
  if holder ~= consumer or at ~= now + wait then
    redis.call('HSET', meta_key, 'alarm', consumer .. ' ' .. whole(now + wait))
  end
  return wait
end
