-- Flow control: rates. A log of starts is [ms, tokens, ms, tokens, ...] for a sliding window, [ms, level] for a token
-- bucket, [start of the window ms, tokens] for windows on the clock.
local LOG_MOST = 128

-- Cuts from a sliding log what has left the window; returns what is spent in it. The clock stands still for a script,
-- so the sum is kept.
local function spent(g)
  if g.sum then return g.sum end
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
  g.sum = sum
  return sum
end

local function level(g)
  local c, log = g.conf, g.log
  if not log[1] then return c.b end
  if log[1] > now then log[1] = now end -- the server's clock went back
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
  if g.shut > now then
    -- The server's clock went back: it stays shut no longer than it was to.
    if g.shut_at > now then g.shut, g.shut_at = g.shut - (g.shut_at - now), now end
    if g.shut > now then return g.shut - now end
  end
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
