-- Flow control: gates. The state of each is one field of one hash:
--   [used, waiting, finish tag, parked, envoy or false, envoy's lane, shut until ms, log of starts, holders or false,
--   shut at ms].
-- An envoy is the line that was let go on by an open gate: it goes first. Holders: jobs that may be asked to stop.
local function gate(name)
  local g = gates[name]
  if g then return g end
  local raw = redis.call('HGET', K.gates, name)
  if raw then
    local p = cmsgpack.unpack(raw)
    g = {
      used = p[1], waiting = p[2], finish = p[3], parked = p[4], envoy = p[5], envoy_lane = p[6], shut = p[7],
      log = p[8], holders = p[9], shut_at = p[10] or 0,
    }
  else
    g = {
      used = 0, waiting = 0, finish = 0, parked = 0, envoy = false, envoy_lane = 0, shut = 0, log = {}, holders = false,
      shut_at = 0,
    }
  end
  g.name, g.conf = name, config_of(name)
  gates[name] = g
  return g
end
flow.gate = gate

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
-- That of a gate only ever moves forward: a dear job that parks must not put off a cheap one. Workers that rest know
-- nothing of a new one, hence the news.
local function rate_alarm(g, wait)
  if redis.call('ZADD', K.clock, 'LT', 'CH', whole(now + wait), 'r' .. g.name) == 1 then flow.news = true end
end
flow.alarm, flow.rate_alarm = alarm, rate_alarm

-- Nothing is left to remember of this gate: its field goes (no key or field per value ever seen).
local function idle(g)
  if g.used > 0 or g.waiting > 0 or g.parked > 0 or g.envoy or g.shut > now then return false end
  -- Turns need memory only while somebody waits for his.
  if g.finish > clock[1] and redis.call('ZCARD', K.jobs) > 0 then return false end
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
        g.shut_at,
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
