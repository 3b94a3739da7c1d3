-- Flow control: fair turns. E is the arrivals' clock, V the highest tag served (clock 2 and 1).
local function group_of(r)
  for _, name in ipairs(r[R_GATES]) do
    if string.sub(name, 1, 2) == 'g:' then return gate(name) end
  end
end

-- A turn is so many ticks, an arrival one. Tags are whole numbers: Redis would read each fraction of a small ring anew
-- from its text, at every insertion.
local TURN = 16384

-- Start-time fair queueing: the tag is charged to the group, so that a hog's next job stands behind everybody who used
-- less than his share.
local function charge(l, r, arrival)
  clock[2] = math.max(clock[2], clock[1])
  if arrival then clock[2] = clock[2] + 1 end
  local g = group_of(r)
  -- A line of no group is one for itself.
  if not g then return arrival and clock[2] or math.max(clock[2], l.tag + TURN) end
  local start = math.max(clock[2], g.finish)
  g.finish = start + math.floor(TURN / (g.conf.w or 1) + 0.5)
  return start
end
