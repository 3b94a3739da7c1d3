-- Flow control: how a job gets into its line, and when the line has its turn.
local function member(lane, seq, id) return lane .. struct.pack('>I8', seq) .. id end
flow.member = member

local function hold(l, until_ms)
  l.state, l.gate = 'h', ''
  alarm(until_ms, 'l' .. l.name)
end

local function first_job(l)
  return redis.call('ZRANGE', K.jobs, l.number, l.number, 'BYSCORE', 'LIMIT', 0, 1)[1]
end

local function jobs_in(l) return redis.call('ZCOUNT', K.jobs, l.number, l.number) end

-- When a batch that is not full runs: `wait` after its oldest item; with `quiet`, so long after the last, but at the
-- latest `max_delay` after the oldest.
local function batch_due(l, b)
  if b[3] > 0 then return math.min(now + b[3], b[4] > 0 and l.since + b[4] or math.huge) end
  return l.since + b[2]
end

-- Puts a job into its line; returns the index row. `seq` nil or 0: behind all others. `held_until`: an ordered line
-- waits so long for its head (a retry).
function flow.add(id, lane, r, held_until)
  local is_back = r[R_SEQ] and r[R_SEQ] ~= 0
  if not is_back then
    clock[3] = math.max(clock[3] + 1, now * 2048)
    r[R_SEQ] = clock[3]
  end
  r[R_TAKEN], r[R_FREE], r[R_LANE] = 0, false, tonumber(lane)
  if (r[R_SINCE] or 0) == 0 then r[R_SINCE] = now end
  local name, lane_number, batch = line_name(r), tonumber(lane), r[R_BATCH]
  local l = line(name)
  local is_new = not l
  if is_new then
    clock[4] = clock[4] + 1
    l = {name = name, number = clock[4], state = 'n', lane = lane_number, tag = 0, gate = '', envoy_of = '',
      cost = r[R_COST], since = now}
    lines[name] = l
  end
  redis.call('ZADD', K.jobs, l.number, member(lane, r[R_SEQ], id))
  for _, g in ipairs(r[R_GATES]) do gate(g).waiting = gate(g).waiting + 1 end
  if is_new then l.tag = charge(l, r, true) end
  if l.state == 'h' and lane_number < l.lane then l.lane = lane_number end
  if held_until then
    local left, g = l.state == 'p' and gate(l.gate), no_envoy(l)
    if not is_new then out_of_place(l) end
    hold(l, held_until)
    ready_lines = ready_lines + 1 -- as below; the worker that hands it back may be too busy to take
    if g then nudge(g) end
    if left then nudge(left) end
  elseif batch and (is_new or l.state == 'h') then
    if is_new then l.since = math.min(now, r[R_SINCE]) end
    if jobs_in(l) >= batch[1] then
      if not is_new then out_of_place(l) end
      into_ring(l)
    else
      hold(l, batch_due(l, batch))
      -- Workers that rest know nothing of this alarm: the one whom the bell wakes learns of it.
      if is_new then ready_lines = ready_lines + 1 end
    end
  elseif is_new then
    into_ring(l)
  elseif lane_number < l.lane and l.state ~= 'h' then
    -- A better lane at the head: the line goes where its head belongs.
    out_of_place(l)
    move_lane(l, lane_number)
    l.cost = r[R_COST]
    if l.state == 'p' then
      local g = gate(l.gate)
      if g.envoy and lane_number < g.envoy_lane then -- it may pass an envoy of a worse lane
        into_ring(l)
      else
        park(l, g)
        nudge(g)
      end
    else
      into_ring(l)
    end
  elseif is_back and l.state == 'p' and first_job(l) == member(lane, r[R_SEQ], id) then
    -- Back at the head: it may need fewer tokens than the one that stopped the line, other gates, or none any more.
    out_of_place(l)
    into_ring(l)
  end
  return with_record('f' .. lane, r)
end
