-- For recover: how a line, a gate, a dead letter is mended (flow/_mend.lua).

-- Where a line that is gone may still stand: its name is looked for at its gates, as far as a hundred lines go.
local function forget_places(name, names)
  for lane = 0, 4 do redis.call('ZREM', K.rings[lane], name) end
  redis.call('ZREM', K.clock, 'l' .. name)
  for _, gate_name in ipairs(names) do
    local from, to = '[' .. gate_name .. '\0', '(' .. gate_name .. '\1'
    for _, one in ipairs(redis.call('ZRANGE', K.park, from, to, 'BYLEX', 'LIMIT', 0, 100)) do
      if string.sub(one, #gate_name + 11) == name then
        redis.call('ZREM', K.park, one)
        gate(gate_name).parked = math.max(0, gate(gate_name).parked - 1)
      end
    end
  end
end

-- A job whose line is gone gets a line.
function mend.relist(one)
  local id = string.sub(one, 10)
  local row = redis.call('HGET', index, id)
  local r = record_in(row)
  if not line(line_name(r)) then forget_places(line_name(r), r[R_GATES]) end
  redis.call('ZREM', K.jobs, one)
  for _, name in ipairs(r[R_GATES]) do gate(name).waiting = math.max(0, gate(name).waiting - 1) end
  redis.call('HSET', index, id, flow.add(id, string.sub(row, 2, 2), r))
end

-- A line that is nowhere has its turn; one in which nobody waits goes.
function mend.line(name)
  local l = line(name)
  local from = no_envoy(l)
  if first_job(l) then into_ring(l) else drop(l) end
  if from then nudge(from) end
end

-- A gate that nobody would open: the first who waits goes on, or gets his alarm.
function mend.gate(name)
  local g, envoy = gate(name), nil
  envoy = g.envoy and line(g.envoy)
  g.parked = parked_at(name)
  if not envoy or envoy.envoy_of ~= name then g.envoy = false end
  nudge(g)
end

-- The index names one letter of a job: the newest; an older one goes.
function mend.letter(entry)
  local id = entry_of(dead, entry)
  local other = redis.call('HGET', dead_index, id) or ''
  if entry_of(dead, other) == id then
    local is_newer = is_behind(entry, other)
    redis.call('XDEL', dead, is_newer and other or entry)
    -- Which of them was counted nobody knows: all are counted anew.
    if type(redis.pcall('HLEN', KEYS[18])) == 'number' then forget_counts(KEYS[18]) end
    if not is_newer then return end
  end
  redis.call('HSET', dead_index, id, entry)
end
