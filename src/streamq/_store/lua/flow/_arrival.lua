-- Flow control, for enqueue: what may refuse a job, in this order: size of its group, deduplication, closed gates.
-- A dedup record: [job id, until ms (throttle), first ms]. "Unsettled" means that the index knows the id.
-- Dedup argument: [mode, key, ttl ms, max wait ms, replace priority]; modes: s(imple) t(hrottle) d(ebounce) k(eep last).
local placed = {} -- rows of this batch, which the index does not have yet
function flow.placed(id, row) placed[id] = row end

local function row_now(index, id) return placed[id] or redis.call('HGET', index, id) end

-- Two keys chosen by chance: what is stale goes. So the hash grows with the keys in use.
local function collect_dedup(index)
  for _, key in ipairs(redis.call('HRANDFIELD', K.dedup, 2)) do
    local seen = cmsgpack.unpack(redis.call('HGET', K.dedup, key))
    if seen[2] <= now and not row_now(index, seen[1]) then redis.call('HDEL', K.dedup, key) end
  end
end

local function replace(env, id, row, lane, body, due)
  redis.call('HSET', K.bodies, id, body)
  if due then
    redis.call('ZADD', env.delayed, whole(due), id)
    local rest = string.match(row, '^d%d(.*)$')
    env.place(id, 'd' .. lane .. rest)
    env.due(due)
  end
end

-- Returns the id of the job that this one met, or nil: then it is to be added, `when` as the third result.
local function met(env, id, lane, when, body, d)
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
      replace(env, seen[1], row, lane, body, due)
      return seen[1]
    end
    when = '+' .. whole(max_wait > 0 and math.min(ttl, max_wait) or ttl)
  end
  if mode == 'k' and row then
    local place = string.sub(row, 1, 1)
    local r = flow.record_of(row)
    if (place == 'f' or place == 'd') and r and r[14] == 0 then
      replace(env, seen[1], row, lane, body)
      return seen[1]
    end
  end
  redis.call('HSET', K.dedup, key, cmsgpack.pack({id, mode == 't' and now + ttl or 0, now}))
  return nil, nil, when
end

local function hex(text) return (string.gsub(text, '.', function(c) return string.format('%02x', string.byte(c)) end)) end

-- Returns a refusal 'reason:detail' (names in hex), or nil and when the job is due.
function flow.admit(env, id, lane, when, body, r, d)
  for _, name in ipairs(r and r[2] or {}) do
    local g = gate(name)
    if g.conf.s and string.sub(name, 1, 2) == 'g:' and g.waiting >= g.conf.s then
      return 'group:' .. g.conf.s .. '/' .. g.waiting .. '/' .. hex(string.sub(name, 3))
    end
  end
  local closed
  if r and (r[11] == 'd' or r[12] ~= 'q') and when == '0' then
    for _, name in ipairs(r[2]) do
      local g, c = gate(name), gate(name).conf
      if r[11] == 'd' and (rate_wait(g, r[3]) > 0 or (c.n and g.parked > 0)) then closed = 'limited:' .. hex(name) end
      if r[12] == 'd' and c.c and string.sub(name, 1, 2) == 'k.' and g.used + g.waiting >= c.c then
        closed = 'conflict:' .. hex(name)
      end
    end
  end
  if d then
    collect_dedup(env.index)
    if closed then
      -- A dropped job does not take the key, but learns whom it would have met.
      local raw = redis.call('HGET', K.dedup, d[2])
      local seen = raw and cmsgpack.unpack(raw)
      if seen and row_now(env.index, seen[1]) then return 'met:' .. hex(seen[1]) end
      return closed
    end
    local other, row, due = met(env, id, lane, when, body, d)
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
