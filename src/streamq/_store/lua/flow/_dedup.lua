-- Flow control, for enqueue: deduplication. A record: [job id, until ms (throttle), first ms]. "Unsettled" means that
-- the index knows the id. The argument: [mode, key, ttl ms, max wait ms, replace priority]; modes: s(imple) t(hrottle)
-- d(ebounce) k(eep last).
local placed = {} -- rows of this batch, which the index does not have yet

local function row_now(index, id) return placed[id] or redis.call('HGET', index, id) end

-- What deduplication may do to the jobs of enqueue: `place` notes a row, `due` a time.
function flow.arrivals(index, delayed, channel, place, due)
  local env = {index = index, delayed = delayed, channel = channel, due = due}
  function env.place(id, row)
    placed[id] = row
    place(id, row)
  end
  -- A duplicate may raise the priority of the job it met, if that still waits.
  function env.raise(id, row, lane)
    local where = string.sub(row, 1, 1)
    local in_lane = string.find(where, '%d')
    if lane >= (in_lane and where or string.sub(row, 2, 2)) then return end
    if where == 'f' then
      local r = flow.remove(id, row)
      env.place(id, flow.add(id, lane, r))
    elseif where == 'd' then
      env.place(id, 'd' .. lane .. string.sub(row, 3))
    elseif in_lane then
      -- In a lane: only as long as nobody has it. KEYS 3 to 7 are the lanes, wherever there is deduplication.
      local from, entry = KEYS[3 + where], string.match(row, '^.(.-):')
      local held, body = redis.pcall('XPENDING', from, 'w', entry, entry, 1), body_of(from, entry)
      if body == '' or (not held.err and #held > 0) then return end
      expect('s', KEYS[3 + lane])
      redis.call('XDEL', from, entry)
      env.place(id, lane .. redis.call('XADD', KEYS[3 + lane], '*', 'j', id, 'd', body) .. ':0')
    end
  end
  return env
end

-- Two keys chosen by chance for each that was asked for: what is stale goes. So the hash grows with the keys in use.
-- Called once a batch, when the index knows its jobs.
local asked = 0
function flow.collect_dedup(index)
  if asked == 0 then return end
  local found = redis.call('HRANDFIELD', K.dedup, 2 * asked, 'WITHVALUES')
  local keys, ids = {}, {}
  for n = 1, #found, 2 do
    local seen = cmsgpack.unpack(found[n + 1])
    if seen[2] <= now then keys[#keys + 1], ids[#ids + 1] = found[n], seen[1] end
  end
  if #ids == 0 then return end
  local rows, stale = redis.call('HMGET', index, unpack(ids)), {}
  for n = 1, #ids do
    if not rows[n] then stale[#stale + 1] = keys[n] end
  end
  if #stale > 0 then redis.call('HDEL', K.dedup, unpack(stale)) end
end

-- Returns the id of the job that this one met, or nil: then it is to be added, `when` as the third result. One that is
-- to be dropped (`closed`) does not take the key.
local function met(env, id, lane, when, body, r, d, closed)
  local mode, key, ttl, max_wait = d[1], d[2], d[3], d[4]
  local raw = redis.call('HGET', K.dedup, key)
  local seen = raw and cmsgpack.unpack(raw)
  local row = seen and row_now(env.index, seen[1])
  if mode == 's' and row then return seen[1], row end
  if mode == 't' and seen and now < seen[2] then return seen[1], row end
  if mode == 'd' then
    if row and string.sub(row, 1, 1) == 'd' then
      local due = now + ttl + 1
      if max_wait > 0 then due = math.min(due, seen[3] + max_wait) end
      put_off(env, seen[1], lane, body, r, due)
      return seen[1]
    end
    when = '+' .. whole(max_wait > 0 and math.min(ttl, max_wait) or ttl)
  end
  if mode == 'k' and row then
    local place = string.sub(row, 1, 1)
    local other = flow.record_of(row)
    if (place == 'f' or place == 'd') and other and other[14] == 0 then
      redis.call('HSET', K.bodies, seen[1], body)
      return seen[1]
    end
  end
  if not closed then redis.call('HSET', K.dedup, key, cmsgpack.pack({id, mode == 't' and now + ttl or 0, now})) end
  return nil, nil, when
end
