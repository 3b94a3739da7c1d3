-- Flow control, part 2 of 2: lines. A line is a FIFO (by lane, then arrival) of jobs that wait for the same gates; if
-- its head cannot run, none can, so a closed gate moves lines, never jobs. A line is in exactly one state:
--   r ready, in the ring of its lane; p parked at the gate that stopped it; h held until a time or a size.
-- Its field: [number, state, lane, tag, gate, envoy of, cost of its head, since ms]. Its jobs are the members of one
-- zset for all lines: score = number, member = lane digit, 8 bytes seq, id.
-- The record of a job stands in its index row, behind '|':
--   [line, gates, cost, ordered, batch, expires ms, seq, stalls, taken at ms, since ms, on limit, on conflict, free,
--   takes, lane]; batch is false or [size, wait ms, quiet ms, max delay ms]; on limit w(ait) d(rop) b(ury); on conflict
--   q(ueue) d(rop) c(ancel running); free: taken without gates, so it has nothing to give back.
local R_LINE, R_GATES, R_COST, R_ORDERED, R_BATCH, R_EXPIRES, R_SEQ, R_STALLS, R_TAKEN, R_SINCE, R_LIMIT, R_CONFLICT,
  R_FREE, R_TAKES, R_LANE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
local gate, alarm, ready_lines = flow.gate, flow.alarm, 0

local function record_of(row)
  local bar = row and string.find(row, '|', 1, true)
  return bar and cmsgpack.unpack(string.sub(row, bar + 1))
end
local function with_record(place, r) return place .. '|' .. cmsgpack.pack(r) end
flow.record_of, flow.with_record = record_of, with_record

local function line_name(r) return r[R_LINE] ~= '' and r[R_LINE] or table.concat(r[R_GATES], '>') end

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
flow.line, flow.line_name = line, line_name

local function into_ring(l)
  l.state, l.gate = 'r', ''
  redis.call('ZADD', K.rings[l.lane], string.format('%.17g', l.tag), l.name)
  ready_lines = ready_lines + 1
end

local function parked_member(l) return l.gate .. '\0' .. l.lane .. struct.pack('>d', l.tag) .. l.name end

-- The first line parked at an open gate goes into the ring as its envoy; a gate closed by rate gets its alarm.
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
  if why == 'rate' then alarm(now + wait, 'r' .. g.name) end
  if why then return end
  redis.call('ZREM', K.park, first)
  g.parked, g.envoy, g.envoy_lane, l.envoy_of = g.parked - 1, name, l.lane, g.name
  into_ring(l)
end
flow.nudge = nudge

local function park(l, g, wait)
  l.state, l.gate = 'p', g.name
  redis.call('ZADD', K.park, 0, parked_member(l))
  g.parked = g.parked + 1
  if wait then alarm(now + wait, 'r' .. g.name) end
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

local function put_back_in_place(l)
  if l.state == 'r' then
    into_ring(l)
  elseif l.state == 'p' then
    park(l, gate(l.gate))
  end
end

local function drop(l)
  out_of_place(l)
  l.gone = true
  local g = no_envoy(l)
  if g then nudge(g) end
end

local function group_of(r)
  for _, name in ipairs(r[R_GATES]) do
    if string.sub(name, 1, 2) == 'g:' then return gate(name) end
  end
end

-- Start-time fair queueing: the tag is charged to the group, so that a hog's next job stands behind everybody who used
-- less than his share; E is the arrivals' clock, V the highest tag served.
local function charge(r, arrival)
  clock[2] = math.max(clock[2], clock[1])
  if arrival then clock[2] = clock[2] + TICK end
  local g = group_of(r)
  if not g then return clock[2] end
  local start = math.max(clock[2], g.finish)
  g.finish = start + 1 / (g.conf.w or 1)
  return start
end

local function member(lane, seq, id) return lane .. struct.pack('>I8', seq) .. id end
flow.member = member

local function hold(l, until_ms)
  l.state, l.gate = 'h', ''
  alarm(until_ms, 'l' .. l.name)
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
  if not r[R_SEQ] or r[R_SEQ] == 0 then
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
  if is_new then l.tag = charge(r, true) end
  if held_until then
    if not is_new then out_of_place(l) end
    local g = no_envoy(l)
    hold(l, held_until)
    if g then nudge(g) end
  elseif batch and (is_new or l.state == 'h') then
    if is_new then l.since = math.min(now, r[R_SINCE]) end
    if jobs_in(l) >= batch[1] then
      if not is_new then out_of_place(l) end
      into_ring(l)
    else
      hold(l, batch_due(l, batch))
    end
  elseif is_new then
    into_ring(l)
  elseif lane_number < l.lane and l.state ~= 'h' then
    -- A better lane at the head: the line goes where its head belongs.
    out_of_place(l)
    l.lane = lane_number
    put_back_in_place(l)
    if l.state == 'p' then
      local g = gate(l.gate)
      if g.envoy and lane_number < g.envoy_lane then -- it may pass an envoy of a worse lane
        out_of_place(l)
        into_ring(l)
      end
    end
  end
  return with_record('f' .. lane, r)
end

-- Takes a waiting job out of its line. The line is dropped when its turn comes and it is empty.
function flow.remove(id, row)
  local r = record_of(row)
  local l = line(line_name(r))
  if l and redis.call('ZREM', K.jobs, member(string.sub(row, 2, 2), r[R_SEQ], id)) == 1 then
    for _, g in ipairs(r[R_GATES]) do gate(g).waiting = math.max(0, gate(g).waiting - 1) end
    if jobs_in(l) == 0 then drop(l) end
  end
  return r
end

-- A job that held its gates ends or goes back: its slots are free again, and its tokens when it never started.
local freed = {}
function flow.free(id, r, unstarted)
  if r[R_FREE] then return end
  for _, name in ipairs(r[R_GATES]) do
    local g = gate(name)
    g.used = math.max(0, g.used - 1)
    if g.holders then g.holders[id] = nil end
    if unstarted then flow.refund(g, r[R_COST], r[R_TAKEN]) end
    freed[#freed + 1] = g
  end
end

-- A delayed job takes its place when it is due, behind all that wait then.
function flow.delayed(lane, r)
  r[R_SEQ], r[R_TAKEN], r[R_SINCE], r[R_FREE] = 0, 0, 0, false
  return with_record('d' .. lane, r)
end

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

-- Writes everything back, nudges the gates that were freed; whether there are ready lines that were not before.
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
  if next(gates) then
    flow.collect_gates()
    flow.save_gates()
  end
  local packed = cmsgpack.pack(clock)
  if packed ~= flow.clock_before then redis.call('HSET', meta_key, 'fv', packed) end
  return ready_lines > 0
end
