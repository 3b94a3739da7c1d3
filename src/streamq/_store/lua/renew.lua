-- renew: starts the leases of a batch of running jobs anew. Fenced: a job that somebody else holds is not touched.
-- KEYS: 1 index hash; 2-6 lane streams; 7 taken stream; 8 beats zset
-- ARGV: 1 consumer; then per job: id, token (200 jobs at most)
-- Reply: string, one letter per job: a renewed, l lost, g gone. Replay: renews again.
local consumer = ARGV[1]
redis.call('ZADD', KEYS[8], whole(now_ms()), consumer)
local ids, answers, entries = {}, {}, {}
for n = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[n] end
if #ids == 0 then return '' end
local rows = redis.call('HMGET', KEYS[1], unpack(ids))
for n = 1, #ids do
  local token = ARGV[n * 2 + 1]
  if rows[n] == token then
    local lane = string.sub(token, 1, 1)
    local key = lane == 't' and KEYS[7] or KEYS[2 + lane]
    local entry = string.sub(token, 2, string.find(token, ':', 1, true) - 1)
    if entries[key] then table.insert(entries[key], entry) else entries[key] = {entry} end
    answers[n] = 'a'
  else
    answers[n] = rows[n] and 'l' or 'g'
  end
end
for key, list in pairs(entries) do
  local args = {key, 'w', consumer, 0}
  for _, entry in ipairs(list) do args[#args + 1] = entry end
  args[#args + 1] = 'JUSTID'
  redis.call('XCLAIM', unpack(args))
end
return table.concat(answers)
