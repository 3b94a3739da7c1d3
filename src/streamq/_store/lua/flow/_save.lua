-- Flow control: what happens at a time, and writing everything back.
-- What happens at a time: rate alarms, held lines, the rest of a live change. Bounded.
function flow.work_off(limit)
  local due = redis.call('ZRANGE', K.clock, '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, limit)
  for _, what in ipairs(due) do
    redis.call('ZREM', K.clock, what)
    local kind, name = string.sub(what, 1, 1), string.sub(what, 2)
    if kind == 'r' then
      nudge(gate(name))
    elseif kind == 'l' then
      local l = line(name)
      if l and l.state == 'h' then into_ring(l) end
    elseif kind == 'c' then
      local class, from = string.match(name, '^(%Z*)%z(.*)$')
      flow.nudge_class(class, from)
    end
  end
  return #due
end

-- The server's clock was set back by `by` ms: what was to happen at a time happens so much earlier. Bounded: the first
-- 1,000; more of them come late by the jump.
function flow.set_back(by)
  local set = {}
  local late = redis.call('ZRANGE', K.clock, whole(now + by - 5000), '+inf', 'BYSCORE', 'LIMIT', 0, 1000, 'WITHSCORES')
  for n = 1, #late, 2 do
    set[n], set[n + 1] = whole(math.max(now, late[n + 1] - by)), late[n]
    local name = string.match(late[n], '^r(.*)$')
    if name then flow.rate_wait(gate(name), 1) end -- its log and its shutting move, too
  end
  if #set > 0 then redis.call('ZADD', K.clock, unpack(set)) end
end

-- After a live change: every gate of a class that has lines parked, 500 a call.
function flow.nudge_class(class, from)
  local stop = class == 'g' and '(g;' or '(' .. class .. '>'
  local cursor = from ~= '' and from or '[' .. class .. (class == 'g' and ':' or '=')
  for _ = 1, 500 do
    local first = redis.call('ZRANGE', K.park, cursor, stop, 'BYLEX', 'LIMIT', 0, 1)[1]
    if not first then return end
    local name = string.match(first, '^%Z*')
    nudge(gate(name))
    cursor = '(' .. name .. '\1'
  end
  alarm(now, 'c' .. class .. '\0' .. cursor)
end

function flow.is_ready() return redis.call('EXISTS', unpack(K.rings, 0, 4)) > 0 end

-- Whether an alarm went by unheard: the one who was told of it may have no room, or be gone.
function flow.is_late()
  return redis.call('ZCOUNT', K.clock, '-inf', whole(now - 200)) > 0
end

-- Writes everything back, nudges the gates that were freed; whether somebody who rests is to be told: there are ready
-- lines that were not before, or an alarm that nobody knows of.
function flow.save()
  for _, g in ipairs(freed) do nudge(g) end
  local set, gone = {}, {}
  for name, l in pairs(lines) do
    if l.gone then
      gone[#gone + 1] = name
    else
      set[#set + 1] = name
      set[#set + 1] = cmsgpack.pack({l.number, l.state, l.lane, l.tag, l.gate, l.envoy_of, l.cost, l.since})
    end
    if #set >= 1000 then
      redis.call('HSET', K.lines, unpack(set))
      set = {}
    end
  end
  if #set > 0 then redis.call('HSET', K.lines, unpack(set)) end
  for n = 1, #gone, 1000 do redis.call('HDEL', K.lines, unpack(gone, n, math.min(n + 999, #gone))) end
  flow.collect_gates()
  if next(gates) then flow.save_gates() end
  local packed = cmsgpack.pack(clock)
  if packed ~= flow.clock_before then redis.call('HSET', meta_key, 'fv', packed) end
  return ready_lines > 0 or flow.news
end
