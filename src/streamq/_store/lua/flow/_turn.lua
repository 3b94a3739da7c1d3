-- Flow control, for take: the turn of a line. It takes all gates of its head at once, or none and is parked.
local function blocked(g, l, cost)
  local why, wait = flow.shut(g, cost)
  if why then return why, wait end
  if g.envoy == l.name then return nil end
  local first = not g.envoy and g.parked > 0 and nudge(g)
  -- Lines that wait here come first, but for a better lane; also one that needs more tokens than there are: it would
  -- never get them together while cheaper ones pass.
  if g.envoy and l.lane >= g.envoy_lane or first and parked_member(l, g.name) > first then return 'queue' end
end

-- The first line of a ring has its turn. Returns the places that took: 0 when the line was stopped, moved or empty.
function flow.try(l)
  local two = redis.call('ZRANGE', K.jobs, l.number, l.number, 'BYSCORE', 'LIMIT', 0, 2)
  local head = two[1]
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
    move_lane(l, lane)
    into_ring(l)
    return 0
  end
  local r = record_of(row)
  l.cost = r[R_COST]
  if r[R_EXPIRES] > 0 and now >= r[R_EXPIRES] then
    hand_free(head, r, '')
    if not two[2] then drop(l) end
    return 1
  end
  for _, name in ipairs(r[R_GATES]) do
    local g = gate(name)
    local why, wait = blocked(g, l, r[R_COST])
    if (why == 'rate' or why == 'queue') and g.conf.n and r[R_LIMIT] ~= 'w' then
      hand_free(head, r, 'limited')
      if not two[2] then drop(l) end
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
  local entry = hand(id, r, r[R_BATCH] and 'batch' or '')
  if entry then
    local contested = r[R_CONFLICT] == 'c' and conflict_gate(r)
    for _, name in ipairs(r[R_GATES]) do
      local g = gate(name)
      g.used = g.used + 1
      flow.spend(g, r[R_COST])
      if name == contested then
        g.holders = g.holders or {}
        g.holders[id] = 1
      end
    end
    if r[R_BATCH] then hand_followers(l, entry, r[R_BATCH][1]) end
  end
  after_turn(l, r, two[2])
  if from then nudge(from) end
  return 1
end
