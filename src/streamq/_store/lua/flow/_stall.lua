-- Flow control, for tick: what becomes of a stalled job that held gates.
local function entry_record(index, key, entry)
  local found = redis.call('XRANGE', key, entry, entry)
  local fields = found[1] and found[1][2] or {}
  for n = 1, #fields - 1, 2 do
    if fields[n] == 'j' then
      local row = redis.call('HGET', index, fields[n + 1])
      local place = 't' .. entry .. ':'
      if row and string.sub(row, 1, #place) == place then return record_of(row), fields[n + 1] end
    end
  end
end

-- Earlier stalls of the job of a taken entry, 0 for one that came from no line.
function flow.stalls(index, key, entry)
  local r = entry_record(index, key, entry)
  return r and r[R_STALLS] or 0, r
end

-- Back to its place in its line, with its slots given back and its tokens spent: the next take costs new ones, so that
-- a crash cannot push the starts above a rate.
function flow.put_back(index, key, entry, stalls)
  local r, id = entry_record(index, key, entry)
  redis.call('HSET', K.bodies, id, body_of(key, entry))
  redis.call('XACK', key, 'w', entry)
  redis.call('XDEL', key, entry)
  flow.free(id, r)
  r[R_STALLS] = stalls
  redis.call('HSET', index, id, flow.add(id, r[R_LANE], r))
end

-- A suspect keeps its slots while it waits; another start costs other tokens. Whether it could pay, and did.
function flow.pay_again(r)
  if r[R_FREE] then return true end
  for _, name in ipairs(r[R_GATES]) do
    local g = gate(name)
    if g.conf.x == 1 or rate_wait(g, r[R_COST]) > 0 then return false end
  end
  for _, name in ipairs(r[R_GATES]) do flow.spend(gate(name), r[R_COST]) end
  return true
end
