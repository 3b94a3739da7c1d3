-- recount: counts anew what the dead letters died of, a page a call, while letters come and go.
-- KEYS: 1 deaths hash; 2 dead stream
-- ARGV: 1 '1' to begin, '0' to go on; 2 most letters of this call (1-500)
-- Reply: 1 done, 0 there are more. Replay: goes on; to begin again costs time and is right as well.
-- What is counted is set back and grows with the pages; what comes or goes meanwhile counts as soon as its page was
-- there (_deaths.lua), so the last page leaves no difference.
expect('h', KEYS[1], 's', KEYS[2]) -- before anything is written
if ARGV[1] == '1' then forget_counts(KEYS[1]) end
local from = redis.call('HGET', KEYS[1], '#')
if not from then return 1 end -- somebody else came to the end
local page = redis.call('XRANGE', KEYS[2], '(' .. from, '+', 'COUNT', ARGV[2])
local is_last = #page < tonumber(ARGV[2])
if is_last then
  redis.call('HDEL', KEYS[1], '#')
else
  redis.call('HSET', KEYS[1], '#', page[#page][1])
end
local books = deaths(KEYS[1])
for _, found in ipairs(page) do
  local id = ''
  for n = 1, #found[2] - 1, 2 do
    if found[2][n] == 'j' then id = found[2][n + 1] end
  end
  books.add(label_of(found[2]), id, found[1])
end
books.save()
return is_last and 1 or 0
