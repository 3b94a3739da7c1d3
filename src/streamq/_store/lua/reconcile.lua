-- reconcile: finds own pending entries that the worker does not know of (ghosts) and gives them to it, uncharged.
-- KEYS: 1 index hash; 2-6 lane streams; 7 taken stream
-- ARGV: 1 consumer; 2 most ghosts to adopt (0: only list); 3.. with a limit: lane .. entry id of entries to adopt
-- Reply: listing: {lane, {entry ids}, lane, {entry ids}, ...} of own pending entries, 10,000 at most a lane;
--   adopting: {{lane, entry, fields, token, count}, ...}. Replay: the adopted entries are own pending ones again.
local index, consumer = KEYS[1], ARGV[1]
local lanes = {t = KEYS[7]}
for n = 0, 4 do lanes[tostring(n)] = KEYS[2 + n] end
local reply = {}
if ARGV[2] == '0' then
  for lane, key in pairs(lanes) do
    local mine = redis.pcall('XPENDING', key, 'w', '-', '+', 10000, consumer)
    if not mine.err and #mine > 0 then
      local entries = {}
      for n, p in ipairs(mine) do entries[n] = p[1] end
      reply[#reply + 1] = lane
      reply[#reply + 1] = entries
    end
  end
  return reply
end
for n = 3, #ARGV do
  local lane, entry = string.sub(ARGV[n], 1, 1), string.sub(ARGV[n], 2)
  local mine = redis.call('XPENDING', lanes[lane], 'w', entry, entry, 1, consumer)[1]
  if mine and #reply < tonumber(ARGV[2]) then
    reply[#reply + 1] = claim(index, lanes[lane], lane, entry, consumer, mine[4])
  end
end
return reply
