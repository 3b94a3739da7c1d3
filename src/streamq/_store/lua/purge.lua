-- purge: forgets dead letters, by id or by age and number; the index goes with them, and what they died of is counted.
-- KEYS: 1 dead stream; 2 dead index hash; 3 deaths hash
-- ARGV: 1 older than ms since the epoch (0 none); 2 most to keep (-1 any number); 3 most to look at (1-500); 4.. ids
-- Reply: number forgotten. Replay: forgets what is left of it.
local dead, index = KEYS[1], KEYS[2]
expect('s', dead, 'h', index, 'h', KEYS[3]) -- before anything is written
local gone, entries, known, died_of = {}, {}, {}, deaths(KEYS[3])
if #ARGV > 3 then
  for n = 4, #ARGV do
    local entry = redis.call('HGET', index, ARGV[n])
    if entry and not known[entry] then
      known[entry] = true
      gone[#gone + 1] = ARGV[n]
      entries[#entries + 1] = entry
      local found = redis.call('XRANGE', dead, entry, entry)[1]
      if found then died_of.take(label_of(found[2]), entry) end
    end
  end
else
  local over = ARGV[2] == '-1' and 0 or redis.call('XLEN', dead) - tonumber(ARGV[2])
  for _, found in ipairs(redis.call('XRANGE', dead, '-', '+', 'COUNT', ARGV[3])) do
    local ms = tonumber(string.match(found[1], '^%d+'))
    if #entries >= over and ms >= tonumber(ARGV[1]) then break end
    entries[#entries + 1] = found[1]
    died_of.take(label_of(found[2]), found[1])
    for n = 1, #found[2] - 1, 2 do
      if found[2][n] == 'j' and redis.call('HGET', index, found[2][n + 1]) == found[1] then
        gone[#gone + 1] = found[2][n + 1]
      end
    end
  end
end
if #gone > 0 then redis.call('HDEL', index, unpack(gone)) end
if #entries > 0 then redis.call('XDEL', dead, unpack(entries)) end
died_of.save()
return #entries
