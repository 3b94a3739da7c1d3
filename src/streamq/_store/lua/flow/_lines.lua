-- Flow control: lines. A line is a FIFO (by lane, then arrival) of jobs that wait for the same gates; if
-- its head cannot run, none can, so a closed gate moves lines, never jobs. A line is in exactly one state:
--   r ready, in the ring of its lane; p parked at the gate that stopped it; h held until a time or a size.
-- Its field: [number, state, lane, tag, gate, envoy of, cost of its head, since ms]. Its jobs are the members of one
-- zset for all lines: score = number, member = lane digit, 8 bytes seq, id.
local gate, alarm, ready_lines = flow.gate, flow.alarm, 0

local function line(name)
  local l = lines[name]
  if l then return not l.gone and l or nil end
  local raw = redis.call('HGET', K.lines, name)
  if not raw then return nil end
  local p = cmsgpack.unpack(raw)
  l = {
    name = name, number = p[1], state = p[2], lane = p[3], tag = p[4], gate = p[5], envoy_of = p[6], cost = p[7],
    since = p[8],
  }
  lines[name] = l
  return l
end
flow.line = line

local function into_ring(l)
  l.state, l.gate = 'r', ''
  redis.call('ZADD', K.rings[l.lane], string.format('%.17g', l.tag), l.name)
  ready_lines = ready_lines + 1
end

local function parked_member(l, at) return (at or l.gate) .. '\0' .. l.lane .. struct.pack('>d', l.tag) .. l.name end

-- The first line parked at an open gate goes into the ring as its envoy; a gate closed by rate gets its alarm. Returns
-- the member of the first line when that stays parked.
local function nudge(g)
  if g.envoy or g.parked <= 0 then return end
  local first = redis.call('ZRANGE', K.park, '[' .. g.name .. '\0', '(' .. g.name .. '\1', 'BYLEX', 'LIMIT', 0, 1)[1]
  if not first then
    g.parked = 0
    return
  end
  local name = string.sub(first, #g.name + 11)
  local l = line(name)
  if not l then -- a foreign hand took the line: so does the gate
    redis.call('ZREM', K.park, first)
    g.parked = g.parked - 1
    return nudge(g)
  end
  local why, wait = flow.shut(g, l.cost)
  if why == 'rate' then flow.rate_alarm(g, wait) end
  if why then return first end
  redis.call('ZREM', K.park, first)
  g.parked, g.envoy, g.envoy_lane, l.envoy_of = g.parked - 1, name, l.lane, g.name
  into_ring(l)
end
flow.nudge = nudge

local function park(l, g, wait)
  l.state, l.gate = 'p', g.name
  redis.call('ZADD', K.park, 0, parked_member(l))
  g.parked = g.parked + 1
  if wait then flow.rate_alarm(g, wait) end
end

local function no_envoy(l)
  if l.envoy_of == '' then return end
  local g = gate(l.envoy_of)
  if g.envoy == l.name then g.envoy = false end
  l.envoy_of = ''
  return g
end

local function out_of_place(l)
  if l.state == 'r' then
    redis.call('ZREM', K.rings[l.lane], l.name)
  elseif l.state == 'p' then
    local g = gate(l.gate)
    redis.call('ZREM', K.park, parked_member(l))
    g.parked = g.parked - 1
  else
    redis.call('ZREM', K.clock, 'l' .. l.name)
  end
end

local function drop(l)
  out_of_place(l)
  l.gone = true
  local g = no_envoy(l)
  if g then nudge(g) end
  -- The next one may need fewer tokens.
  if l.state == 'p' then nudge(gate(l.gate)) end
end

local function move_lane(l, lane)
  l.lane = lane
  if l.envoy_of ~= '' then gate(l.envoy_of).envoy_lane = lane end
end
