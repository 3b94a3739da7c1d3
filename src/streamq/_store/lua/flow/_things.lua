-- For verify and recover: the facts of what is no job and no entry of a stream (flow/_facts.lua).

-- s: a page of a stream: its letter and the entry to begin after; entry and id of a hundred, by turns.
function facts.s(from)
  local key = lane_keys[string.sub(from, 1, 1)] or KEYS[11]
  local after, page = string.sub(from, 2), {}
  for _, found in ipairs(redis.call('XRANGE', key, after == '' and '-' or '(' .. after, '+', 'COUNT', 100)) do
    page[#page + 1], page[#page + 2] = found[1], ''
    for n = 1, #found[2] - 1, 2 do
      if found[2][n] == 'j' then page[#page] = found[2][n + 1] end
    end
  end
  return page
end

-- p: a parked member: there, row of that job, it names this member, its place has the job.
function facts.p(one)
  local id = string.match(one, '[^%z]*$')
  local row = redis.call('HGET', KEYS[2], id) or ''
  local is_same = string.sub(row, 1, 1) == 'p' and name_in(row) .. '\0' .. id == one
  return {yes(redis.call('ZSCORE', KEYS[10], one)), row, yes(is_same), yes(row ~= '' and is_there(id, row))}
end

-- f: a member of a line: there, row of that job, it names this member, its place has the job, its line knows it.
function facts.f(one)
  local id, score = string.sub(one, 10), redis.call('ZSCORE', K.jobs, one)
  local row = redis.call('HGET', KEYS[2], id) or ''
  local r = string.sub(row, 1, 1) == 'f' and record_in(row)
  local is_same = r and member(string.sub(row, 2, 2), r[R_SEQ], id) == one
  local l = is_same and line(line_name(r))
  return {
    yes(score), row, yes(is_same), yes(row ~= '' and is_there(id, row)),
    yes(l and score and l.number == tonumber(score)),
  }
end

-- x: a dead letter by its entry: there, id, the entry that the index names, that one is there and another.
function facts.x(entry)
  local id, _, there = entry_of(KEYS[11], entry)
  local at = id ~= '' and redis.call('HGET', KEYS[12], id) or ''
  return {there, id, at, yes(at ~= '' and at ~= entry and entry_of(KEYS[11], at) == id)}
end

-- l: a line: there, its state, somebody waits in it, it is where its state says.
function facts.l(name)
  local l = line(name)
  if not l then return {'', '', '', ''} end
  local at
  if l.state == 'r' then
    at = redis.call('ZSCORE', K.rings[l.lane], name)
  elseif l.state == 'p' then
    at = redis.call('ZSCORE', K.park, parked_member(l))
  else
    at = redis.call('ZSCORE', K.clock, 'l' .. name)
  end
  return {'1', l.state, yes(first_job(l)), yes(at)}
end

local function parked_at(name)
  local first, last = '[' .. name .. '\0', '(' .. name .. '\1'
  local head = redis.call('ZRANGE', K.park, first, last, 'BYLEX', 'LIMIT', 0, 1)[1]
  return redis.call('ZLEXCOUNT', K.park, first, last), head
end

-- g: a gate: lines parked by its count, and really; the line that goes first is gone; nobody will wake who waits.
function facts.g(name)
  local g, count, first = gate(name), parked_at(name)
  local envoy = g.envoy and line(g.envoy)
  local is_lost, is_asleep = g.envoy and not (envoy and envoy.envoy_of == name), false
  if first and not g.envoy then
    local l = line(string.sub(first, #name + 11))
    local why = l and flow.shut(g, l.cost)
    is_asleep = (not why or why == 'rate') and not redis.call('ZSCORE', K.clock, 'r' .. name)
    -- The rest of a change of the whole class has an alarm together.
    for _, what in ipairs(redis.call('ZRANGE', K.clock, '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, 64)) do
      if string.sub(what, 1, 1) == 'c' then is_asleep = false end
    end
  end
  return {whole(g.parked), whole(count), yes(first and is_lost), yes(is_asleep)}
end

