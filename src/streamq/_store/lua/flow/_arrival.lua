-- Flow control, for enqueue: what may refuse a job, in this order: size of its group, deduplication, closed gates.
local function hex(text)
  return (string.gsub(text, '.', function(c) return string.format('%02x', string.byte(c)) end))
end

-- Returns a refusal 'reason:detail' (names in hex), or nil and when the job is due.
function flow.admit(env, id, lane, when, body, r, d)
  for _, name in ipairs(r and r[2] or {}) do
    local g = gate(name)
    if g.conf.s and string.sub(name, 1, 2) == 'g:' and g.waiting >= g.conf.s then
      return 'group:' .. g.conf.s .. '/' .. g.waiting .. '/' .. hex(string.sub(name, 3))
    end
  end
  local its_line = r and r[4] and line(flow.line_name(r))
  if its_line and its_line.lane ~= tonumber(lane) then
    return 'order:' .. its_line.lane .. '/' .. hex(its_line.name)
  end
  local closed
  if r and (r[11] == 'd' or r[12] ~= 'q') and when == '0' then
    local contested = r[12] == 'd' and conflict_gate(r)
    for _, name in ipairs(r[2]) do
      local g, c = gate(name), gate(name).conf
      -- A gate that is shut for another reason than its rate drops nothing: it opens again.
      if r[11] == 'd' and c.n and (rate_wait(g, r[3]) > 0 or g.parked > 0) then closed = 'limited:' .. hex(name) end
      if name == contested and (c.c or -1) >= 0 and g.used + g.waiting >= c.c then
        closed = 'conflict:' .. hex(name)
      end
    end
  end
  if d then
    asked = asked + 1
    if d[1] == 'd' then closed = nil end -- it is not to begin now
    local other, row, due = met(env, id, lane, when, body, r, d, closed)
    if other then
      if d[5] and row then env.raise(other, row, lane) end
      return 'met:' .. hex(other)
    end
    when = due
  end
  if closed then return closed end
  if r and r[12] == 'c' then
    -- Its predecessors are asked to stop; it waits in line until they have.
    for _, name in ipairs(r[2]) do
      for holder in pairs(gate(name).holders or {}) do
        if redis.call('HSET', K.cancels, holder, '1') == 1 then redis.call('HINCRBY', meta_key, 'cancels', 1) end
        redis.call('SPUBLISH', env.channel, 'cancel ' .. holder)
      end
    end
  end
  return nil, when
end
