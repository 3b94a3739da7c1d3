-- Flow control, for limit: what is in force is the declared configuration under the override.
local function override(name)
  local found = redis.call('HGET', K.layers, 'o ' .. name)
  return found and cmsgpack.unpack(found)
end

local function same(one, other)
  for option, value in pairs(one) do
    if other[option] ~= value then return false end
  end
  for option in pairs(other) do
    if one[option] == nil then return false end
  end
  return true
end

-- Writes the configuration in force of a gate or class, tells whether it is another, and wakes who may pass now.
local function in_force(name, declared)
  local over, base = override(name), declared.gates[name]
  local both, empty = {}, true
  for option, value in pairs(base or {}) do both[option] = value end
  if over and over.conf.n then both.n, both.p, both.b, both.o = nil, nil, nil, nil end
  for option, value in pairs(over and over.conf or {}) do both[option] = value end
  for _ in pairs(both) do empty = false end
  local before = redis.call('HGET', K.config, name)
  if empty then
    redis.call('HDEL', K.config, name)
  else
    redis.call('HSET', K.config, name, cmsgpack.pack(both))
  end
  flow.forget_config(name)
  if string.find(name, '[:=]') or string.match(name, '^[qhx]') or string.sub(name, 1, 3) == 'cb.' then
    flow.nudge(flow.gate(name))
  else
    flow.nudge(flow.gate(name)) -- a named limit is its own gate, a class is none and has nobody parked
    flow.nudge_class(name, '')
  end
  return not same(before and cmsgpack.unpack(before) or {}, both)
end
