-- Flow control: how a job leaves its line or its gates.
-- Takes a waiting job out of its line; an empty line is dropped. One that was held for this job goes on.
function flow.remove(id, row)
  local r = record_of(row)
  local l, job = line(line_name(r)), member(string.sub(row, 2, 2), r[R_SEQ], id)
  if l and redis.call('ZREM', K.jobs, job) == 1 then
    for _, g in ipairs(r[R_GATES]) do gate(g).waiting = math.max(0, gate(g).waiting - 1) end
    local first = first_job(l)
    if not first then
      drop(l)
    elseif (l.state == 'h' and not r[R_BATCH] or l.state == 'p') and job < first then
      -- It was the head that the line was held or stopped for: the next one may go on, and so may another line that
      -- stood behind this one at its gate.
      local left = l.state == 'p' and gate(l.gate)
      out_of_place(l)
      into_ring(l)
      if left then nudge(left) end
    end
  end
  return r
end

-- By hand: an ordered line that is held for the backoff of this job, its head, goes on now. Whether there was one.
-- Before the head may be some that expired: they hold no slot, so one may come back to its place after a later one ran.
function flow.hasten(id, row, index)
  local r = record_of(row)
  local l = r and not r[R_BATCH] and line(line_name(r))
  if not l or l.state ~= 'h' then return false end
  local mine = member(string.sub(row, 2, 2), r[R_SEQ], id)
  for _, job in ipairs(redis.call('ZRANGE', K.jobs, l.number, l.number, 'BYSCORE', 'LIMIT', 0, 20)) do
    if job == mine then
      out_of_place(l)
      into_ring(l)
      return true
    end
    local other = record_of(redis.call('HGET', index, string.sub(job, 10)) or '')
    if not other or other[R_EXPIRES] == 0 or now < other[R_EXPIRES] then return false end
  end
  return false
end

-- A job that held its gates ends or goes back: its slots are free again, and its tokens when it never started, which is
-- what these letters of settle say. Their capitals: it had started, or others of its batch ran on what it paid.
local UNSTARTED = {u = true, p = true, v = true}
local freed = {}
function flow.free(id, r, letter)
  if r[R_FREE] then return end
  for _, name in ipairs(r[R_GATES]) do
    local g = gate(name)
    g.used = math.max(0, g.used - 1)
    if g.holders then g.holders[id] = nil end
    if UNSTARTED[letter or ''] then flow.refund(g, r[R_COST], r[R_TAKEN]) end
    freed[#freed + 1] = g
  end
end

-- A delayed job takes its place when it is due, behind all that wait then. Its stalls are forgotten with the attempt.
function flow.delayed(lane, r)
  r[R_SEQ], r[R_STALLS], r[R_TAKEN], r[R_SINCE], r[R_FREE] = 0, 0, 0, 0, false
  return with_record('d' .. lane, r)
end
