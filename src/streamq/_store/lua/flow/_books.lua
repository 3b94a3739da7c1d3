-- For verify and recover: the facts of counters, workers and keys (flow/_facts.lua), and the digest of facts.

-- Jobs that were handed back and wait for a worker (pseudo-consumer ~).
local function handed_back()
  local total = 0
  for _, key in pairs(lane_keys) do
    local held = redis.call('XLEN', key) > 0 and redis.pcall('XPENDING', key, 'w') or {}
    for _, c in ipairs(not held.err and held[4] or {}) do
      if c[1] == '~' then total = total + c[2] end
    end
  end
  return total
end

-- Lanes that lost their group: it was there when a worker swept last, for their first entry was.
local function without_group(swept)
  local lost = ''
  for lane = 0, 5 do
    local letter = lane == 5 and 't' or tostring(lane)
    local key = lane_keys[letter]
    if redis.call('XLEN', key) > 0 and #redis.call('XINFO', 'GROUPS', key) == 0 then
      local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1][1]
      local is_old = swept and tonumber(string.match(first, '^%d+')) < tonumber(swept)
      if is_old or letter == 't' then lost = lost .. letter end
    end
  end
  return lost
end

-- n: the books of the queue: its protocol is missing, the number of marks is wrong, too few handed back are counted,
-- letters of lanes without group, there are bodies that belong to nobody or too few, details outside of the window.
function facts.n()
  local m = redis.call('HMGET', KEYS[1], PROTOCOL_FIELD, 'cancels', 'released', 'swept')
  local homes = redis.call('ZCARD', KEYS[9]) + redis.call('ZCARD', KEYS[10]) + redis.call('ZCARD', K.jobs)
  return {
    yes(not m[1] and redis.call('HLEN', KEYS[2]) > 0), yes(tonumber(m[2] or 0) ~= redis.call('HLEN', K.cancels)),
    yes(tonumber(m[3] or 0) < handed_back()), without_group(m[4]), yes(redis.call('HLEN', K.bodies) ~= homes),
    yes(redis.call('HLEN', KEYS[17]) > redis.call('LLEN', KEYS[16])),
  }
end

-- h: a worker: it has a heartbeat, it was heard of.
function facts.h(consumer)
  return {yes(redis.call('HEXISTS', KEYS[14], consumer)), yes(redis.call('ZSCORE', KEYS[15], consumer))}
end

-- u: a consumer of the group of a stream (its letter first): there, holds something, idle and forgotten.
function facts.u(one)
  local key, name = lane_keys[string.sub(one, 1, 1)], string.sub(one, 2)
  local all = redis.pcall('XINFO', 'CONSUMERS', key, 'w')
  for _, info in ipairs(all.err and {} or all) do
    local c = {}
    for f = 1, #info - 1, 2 do c[info[f]] = info[f + 1] end
    if c.name == name then
      local is_known = name == '~' or name == '!' or redis.call('ZSCORE', KEYS[15], name)
      return {'1', yes(c.pending), yes(c.idle > silent_ms and not is_known)}
    end
  end
  return {'', '', ''}
end

-- w: a completed job: its detail is kept, the window knows it.
function facts.w(id)
  return {yes(redis.call('HEXISTS', KEYS[17], id)), redis.call('LPOS', KEYS[16], id) and '1' or ''}
end

-- r, e, k: a key that must not live for ever: there, it does, (k) its worker is forgotten, and it was not left lately.
local function key_facts(name, key)
  local ttl = redis.call('PTTL', key)
  local is_left = ttl > 10000 and ttl < 600000 - silent_ms and not redis.call('ZSCORE', KEYS[15], name)
  return {yes(ttl ~= -2), yes(ttl == -1), yes(is_left)}
end
facts.r, facts.e, facts.k = key_facts, key_facts, key_facts

local NEEDS_KEY = {i = true, r = true, e = true, k = true}

-- Facts of a thing and their digest; `key`: that of its own, for letters that need one.
local function look_at(thing, key)
  local found = facts[string.sub(thing, 1, 1)](string.sub(thing, 2), key)
  return redis.sha1hex(table.concat(found, '\0')), found
end
