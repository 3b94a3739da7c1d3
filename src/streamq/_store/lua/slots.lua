-- slots: compares what gates count (slots in use, jobs in line) with the jobs that are there; sets it right if asked.
-- KEYS: 1 meta hash; 2 index hash; 3 taken stream; 4.. keys of flow control
-- ARGV: 1 protocol; 2 1 to set, 0 to tell; 3 number of ids; 4.. ids of all jobs that are known to be taken or in lines
--   (900 at most), then gates (90 at most)
-- Reply: {taken entries that are not of these ids, jobs in lines that are not, {gate, in use, counted, in line,
--   counted}, ...}. Errors: SQVERSION. Replay: finds nothing left to set.
-- What it does not know of may hold slots, too: certain is what lies outside of counted and counted + unknown; to that
-- the count is set.
local m = redis.call('HMGET', KEYS[1], PROTOCOL_FIELD, 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(4, KEYS[1], m[3])
local ids, names, tally = {}, {}, {}
local function tally_of(name)
  if not tally[name] then
    tally[name] = {0, 0}
    names[#names + 1] = name
  end
  return tally[name]
end
for n = 4, #ARGV do
  if n < 4 + tonumber(ARGV[3]) then ids[#ids + 1] = ARGV[n] else tally_of(ARGV[n]) end
end
local taken, waiting = redis.call('XLEN', KEYS[3]), redis.call('ZCARD', flow.keys.jobs)
for _, row in ipairs(#ids > 0 and redis.call('HMGET', KEYS[2], unpack(ids)) or {}) do
  local place = row and string.sub(row, 1, 1)
  if place == 't' or place == 'f' then
    local r, column = flow.record_of(row), place == 't' and 1 or 2
    if place == 't' then taken = taken - 1 else waiting = waiting - 1 end
    if r and not (place == 't' and r[R_FREE]) then
      for _, name in ipairs(r[R_GATES]) do tally_of(name)[column] = tally_of(name)[column] + 1 end
    end
  end
end
local reply = {taken, waiting}
for _, name in ipairs(names) do
  local g, counted = flow.gate(name), tally[name]
  reply[#reply + 1] = {name, g.used, counted[1], g.waiting, counted[2]}
  if ARGV[2] == '1' and taken >= 0 and waiting >= 0 then
    g.used = math.max(counted[1], math.min(g.used, counted[1] + taken))
    g.waiting = math.max(counted[2], math.min(g.waiting, counted[2] + waiting))
    flow.nudge(g)
  end
end
if ARGV[2] == '1' and flow.save() and not m[2] then ring(flow.keys.bell) end
return reply
