-- Shared by the verbs of settle that put a job somewhere else. Prepended by scripts.py.

-- Stalls of the entry that an item holds. They count on wherever the job waits meanwhile: a poison job that workers
-- without its handler get now and then would else go on for ever.
local function stalls_of(item)
  local held = redis.pcall('XPENDING', item.key, 'w', item.entry, item.entry, 1) -- an error when its group is gone
  local p = not held.err and held[1]
  return p and math.max(0, p[4] - 1) or 0
end

-- Adds them to what the record of a job in a line says of earlier ones.
local function keep_stalls(item) item.held[8] = item.held[8] + stalls_of(item) end
