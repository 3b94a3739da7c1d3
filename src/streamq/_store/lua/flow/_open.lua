-- Flow control: its keys, and what is configured. The files of flow/ are put in front of every verb that meets jobs in
-- lines, in the order of scripts.py; all of it is one chunk. The keys of flow control stand together in KEYS.
-- A gate is a named limit: slots (concurrency), tokens (rate), pause. A line is a queue of jobs that wait for the same
-- gates. Rules and words: docs/decisions, flow control. Times in ms on the server's clock.
flow = {KEYS = 17}
local now = now_ms()
local K = {}
local gates, configs, lines, meta_key = {}, {}, {}, nil
local clock -- [V highest tag served, E arrivals' clock, last seq, last line number, whose turn it is]

-- Says where the keys of flow control begin, and what the meta hash holds in 'fv'.
function flow.open(at, meta, fv)
  meta_key = meta
  K.jobs, K.lines, K.park, K.gates, K.config, K.clock, K.dedup, K.rules, K.layers, K.cancels, K.bodies, K.bell =
    KEYS[at], KEYS[at + 1], KEYS[at + 7], KEYS[at + 8], KEYS[at + 9], KEYS[at + 10], KEYS[at + 11], KEYS[at + 12],
    KEYS[at + 13], KEYS[at + 14], KEYS[at + 15], KEYS[at + 16]
  K.rings = {}
  for lane = 0, 4 do K.rings[lane] = KEYS[at + 2 + lane] end
  clock = fv and cmsgpack.unpack(fv) or {0, 0, 0, 0, 0}
  flow.keys, flow.clock_before = K, fv or cmsgpack.pack(clock)
  -- Reads come first: a key of a wrong type fails here, before anything is written.
  expect('z', K.jobs, 'h', K.lines, 'z', K.park, 'h', K.gates, 'h', K.config, 'z', K.clock, 'h', K.bodies, 'l', K.bell)
  for lane = 0, 4 do expect('z', K.rings[lane]) end
end

local function class_of(name)
  if string.sub(name, 1, 2) == 'g:' then return 'g' end
  return string.match(name, '^([rk]%.[^=]*)=')
end
flow.class_of = class_of

local function configured(name)
  local found = configs[name]
  if found == nil then
    local raw = redis.call('HGET', K.config, name)
    found = raw and cmsgpack.unpack(raw) or false
    configs[name] = found
  end
  return found
end

-- The configuration in force: that of the class, and over it that of the gate itself.
local NOTHING = {}
local function config_of(name)
  if string.sub(name, 1, 2) == 'd.' then return {c = 1} end -- keep_last: one at a time by nature
  local class = class_of(name)
  local general, own = class and configured(class), configured(name)
  if not own then return general or NOTHING end
  if not general then return own end
  local both = {}
  for option, value in pairs(general) do both[option] = value end
  if own.n then both.n, both.p, both.b, both.o = nil, nil, nil, nil end
  for option, value in pairs(own) do both[option] = value end
  return both
end

flow.conf_of = config_of

function flow.forget_config(name)
  configs[name] = nil
  for _, g in pairs(gates) do
    if g.name == name or class_of(g.name) == name then g.conf, g.sum = config_of(g.name), nil end
  end
end
