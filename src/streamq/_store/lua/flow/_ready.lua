-- Flow control, for take: whose turn it is, and when the next alarm is due.
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
function flow.is_ahead(l) return l.tag > math.max(clock[1], clock[2]) + TURN / 2 end

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

-- The gate of the whole queue: its jobs need not leave the lanes, all are equally subject to it. Streams: KEYS 3 to 8.
-- Returns the gate, nil when there is none, and how many may begin now.
function flow.queue_gate(want, released)
  if not next(flow.conf_of('q')) then return nil, want end
  local q = gate('q')
  local tokens, used = flow.tokens(q), 0
  if not q.conf.c or q.conf.c < 0 then return q, math.min(want, tokens) end
  for n = 3, 8 do
    local length = redis.call('XLEN', KEYS[n])
    local groups = length > 0 and redis.call('XINFO', 'GROUPS', KEYS[n])[1] or {}
    for f = 1, #groups - 1, 2 do
      if groups[f] == 'pending' then used = used + groups[f + 1] end
    end
    -- What was released is pending, but runs nowhere. The counter of it may be too high, so they are counted.
    for _, c in ipairs(released and #groups > 0 and redis.call('XPENDING', KEYS[n], 'w')[4] or {}) do
      if c[1] == '~' then used = used - c[2] end
    end
  end
  return q, math.min(want, tokens, math.max(0, q.conf.c - used))
end
