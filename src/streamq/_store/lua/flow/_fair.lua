-- Flow control: fair turns. E is the arrivals' clock, V the highest tag served (clock 2 and 1).
local function group_of(r)
  for _, name in ipairs(r[R_GATES]) do
    if string.sub(name, 1, 2) == 'g:' then return gate(name) end
  end
end

-- Start-time fair queueing: the tag is charged to the group, so that a hog's next job stands behind everybody who used
-- less than his share; E is the arrivals' clock, V the highest tag served.
local function charge(l, r, arrival)
  clock[2] = math.max(clock[2], clock[1])
  if arrival then clock[2] = clock[2] + TICK end
  local g = group_of(r)
  -- A line of no group is one for itself.
  if not g then return arrival and clock[2] or math.max(clock[2], l.tag + 1) end
  local start = math.max(clock[2], g.finish)
  g.finish = start + 1 / (g.conf.w or 1)
  return start
end
