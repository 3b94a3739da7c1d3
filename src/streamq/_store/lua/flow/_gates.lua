-- Flow control, part 1 of 2: gates. Prepended, with _lines.lua, to every verb that meets jobs which wait in lines.
-- The keys of flow control are the last FLOW_KEYS of KEYS in such a build, but for records; see flow.open.
-- A gate is a named limit: slots (concurrency), tokens (rate), pause. Its state is one field of one hash:
--   [used, waiting, finish tag, parked, envoy or false, envoy's lane, shut until ms, log of starts, holders or false].
-- Rules and words: docs/decisions, flow control. Times in ms on the server's clock.
flow = {KEYS = 17}
local now = now_ms()
local K = {}
local gates, configs, lines, meta_key = {}, {}, {}, nil
local clock -- [V highest tag served, E arrivals' clock, last seq, last line number, whose turn it is]
local TICK = 1 / 16384
local LOG_MOST = 128

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
    if g.name == name or class_of(g.name) == name then g.conf = config_of(g.name) end
  end
end

local function gate(name)
  local g = gates[name]
  if g then return g end
  local raw = redis.call('HGET', K.gates, name)
  if raw then
    local p = cmsgpack.unpack(raw)
    g = {
      used = p[1], waiting = p[2], finish = p[3], parked = p[4], envoy = p[5], envoy_lane = p[6], shut = p[7],
      log = p[8], holders = p[9],
    }
  else
    g = {used = 0, waiting = 0, finish = 0, parked = 0, envoy = false, envoy_lane = 0, shut = 0, log = {}, holders = false}
  end
  g.name, g.conf = name, config_of(name)
  gates[name] = g
  return g
end
flow.gate = gate

-- Cuts from a sliding log what has left the window; returns what is spent in it.
local function spent(g)
  local log, per = g.log, g.conf.p
  local latest, first, sum = now + math.ceil(per / LOG_MOST), 1, 0
  while log[first] and math.min(log[first], latest) <= now - per do first = first + 2 end
  if first > 1 then
    local kept = {}
    for n = first, #log do kept[#kept + 1] = log[n] end
    g.log, log = kept, kept
  end
  for n = 1, #log, 2 do
    -- The server's clock went back: an entry of the future must not keep the gate shut.
    if log[n] > latest then log[n] = latest end
    sum = sum + log[n + 1]
  end
  return sum
end

local function level(g)
  local c, log = g.conf, g.log
  if not log[1] then return c.b end
  return math.min(c.b, log[2] + math.max(0, now - log[1]) * c.n / c.p)
end

local function window_start(c) return now - (now - c.o) % c.p end

-- What was spent in the running window. Its start may have moved with daylight saving: it is the same one all the same.
local function in_window(g)
  local start = window_start(g.conf)
  return g.log[1] and math.abs(g.log[1] - start) * 2 < g.conf.p and g.log[2] or 0, start
end

local function most(c) return c.b and math.min(c.b, c.n) or c.n end

-- ms until `cost` tokens can be spent here; 0: now.
local function rate_wait(g, cost)
  local c = g.conf
  if g.shut > now then return g.shut - now end
  if not c.n or c.n < 0 then return 0 end
  cost = math.min(cost, most(c)) -- the limit was lowered since
  if c.n == 0 then return 1000 end
  if c.b then
    local missing = cost - level(g)
    return missing > 0 and math.ceil(missing * c.p / c.n) or 0
  end
  if c.o then
    local used, start = in_window(g)
    return used + cost <= c.n and 0 or start + c.p - now
  end
  local over = spent(g) + cost - c.n
  local log = g.log
  for n = 1, #log, 2 do
    if over <= 0 then return 0 end
    over = over - log[n + 1]
    if over <= 0 then return math.max(1, log[n] + c.p - now) end
  end
  return 0
end
flow.rate_wait = rate_wait

local function spend(g, cost)
  local c = g.conf
  if cost <= 0 then return end
  if not c.n or c.n < 0 then
    g.log = {}
    return
  end
  cost = math.min(cost, most(c))
  local log = g.log
  if c.b then
    g.log = {now, level(g) - cost}
  elseif c.o then
    local used, start = in_window(g)
    g.log = {start, used + cost}
  else
    local stamp = now
    if c.n > LOG_MOST then
      -- Stamped with the end of its part of the period: late, so never too many.
      local part = c.p / LOG_MOST
      stamp = math.ceil(math.ceil((now + 1) / part) * part)
    end
    local last = #log - 1
    if last > 0 and log[last] == stamp then
      log[last + 1] = log[last + 1] + cost
    else
      log[last + 2], log[last + 3] = stamp, cost
    end
  end
end

-- Gives the tokens of a start back that never was one. Always the oldest in the log: taking the newest would let a
-- live start be forgotten too early.
local function refund(g, cost, taken_at)
  local c = g.conf
  if not c.n or c.n < 0 or taken_at + c.p <= now then return end
  cost = math.min(cost, most(c))
  if c.b then
    g.log = {now, math.min(c.b, level(g) + cost)}
  elseif c.o then
    local used, start = in_window(g)
    if used > 0 and taken_at >= start then g.log = {start, math.max(0, used - cost)} end
  else
    spent(g)
    local log = g.log
    while log[1] and cost > 0 do
      local part = math.min(cost, log[2])
      cost, log[2] = cost - part, log[2] - part
      if log[2] == 0 then
        table.remove(log, 1)
        table.remove(log, 1)
      end
    end
  end
end

-- Tokens that can be spent at once (for the gate of the whole queue); and ms until the next one if there is none.
function flow.tokens(g)
  local c = g.conf
  if g.conf.x == 1 then return 0, 1000 end
  local wait = rate_wait(g, 1)
  if wait > 0 then return 0, wait end
  if not c.n or c.n < 0 then return math.huge, 0 end
  if c.b then return math.floor(level(g)), 0 end
  if c.o then return c.n - in_window(g), 0 end
  return c.n - spent(g), 0
end

-- Tokens spent in the running period, for people.
function flow.spent_now(g)
  local c = g.conf
  if not c.n or c.n < 0 then return 0 end
  if c.b then return math.floor(c.b - level(g)) end
  if c.o then return (in_window(g)) end
  return spent(g)
end

-- Why nobody can pass: 'paused', 'slots', 'rate' and the ms until it opens; nil when open.
local function shut(g, cost)
  local c = g.conf
  if c.x == 1 then return 'paused' end
  if c.c and c.c >= 0 and g.used >= c.c then return 'slots' end
  local wait = rate_wait(g, cost)
  if wait > 0 then return 'rate', wait end
end
flow.shut, flow.spend, flow.refund = shut, spend, refund

local function alarm(at, what) redis.call('ZADD', K.clock, whole(at), what) end
flow.alarm = alarm

-- Nothing is left to remember of this gate: its field goes (no key or field per value ever seen).
local function idle(g)
  if g.used > 0 or g.waiting > 0 or g.parked > 0 or g.envoy or g.shut > now or g.finish > clock[1] then return false end
  local c = g.conf
  if not c.n or c.n < 0 then return true end
  if c.b then return level(g) >= c.b end
  if c.o then return in_window(g) == 0 end
  return spent(g) == 0
end

local function save_gates()
  local set, gone = {}, {}
  for name, g in pairs(gates) do
    if idle(g) then
      gone[#gone + 1] = name
    else
      set[#set + 1] = name
      set[#set + 1] = cmsgpack.pack({
        g.used, g.waiting, g.finish, g.parked, g.envoy, g.envoy_lane, g.shut, g.log, g.holders,
      })
    end
    if #set >= 1000 then
      redis.call('HSET', K.gates, unpack(set))
      set = {}
    end
  end
  if #set > 0 then redis.call('HSET', K.gates, unpack(set)) end
  for n = 1, #gone, 1000 do redis.call('HDEL', K.gates, unpack(gone, n, math.min(n + 999, #gone))) end
end

-- Two gates chosen by chance: what is idle by now goes. So the hash grows with the gates in use.
local function collect_gates()
  local some = redis.call('HRANDFIELD', K.gates, 2)
  for _, name in ipairs(some) do
    if not gates[name] then gate(name) end
  end
end
flow.save_gates, flow.collect_gates = save_gates, collect_gates
