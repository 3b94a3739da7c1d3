-- Flow control: tokens are spent by starts, and given back when a start never was one.
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
    g.sum = spent(g) + cost
    log = g.log
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
    -- Without that start the bucket may have been full meanwhile, and what flowed in lost.
    local lost = (now - taken_at) * c.n / c.p
    g.log = {now, math.min(c.b, level(g) + math.max(0, cost - lost))}
  elseif c.o then
    local used, start = in_window(g)
    if used > 0 and taken_at >= start then g.log = {start, math.max(0, used - cost)} end
  else
    g.sum = spent(g)
    local log = g.log
    while log[1] and cost > 0 do
      local part = math.min(cost, log[2])
      cost, log[2], g.sum = cost - part, log[2] - part, g.sum - part
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
