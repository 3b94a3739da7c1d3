-- fetch: takes up to `want` waiting jobs for a consumer, best lane first; gates are looked at here and nowhere else.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 bell list
-- ARGV: 1 protocol; 2 consumer; 3 want (1-500); 4 lane order, such as '01234', or with bounds, such as '4:1 0:9 1:5
--   2:0 3:0' (each lane once): no more than that from a lane, then the rest of want in the same order without bounds
-- Reply: {now ms, why, adopted jobs, lane digit, entries, lane digit, entries, ...}; why: 'full' (got all it asked
--   for), 'empty', 'paused', 'flow' (the queue has limits or lines: use take), or an error text of a lane (what was
--   taken before it is still in the reply).
--   Entries are a flat list: entry id, job id, envelope, ...; for one that is none of ours entry id, '', {fields}. The
--   token of an entry is lane .. entry id .. ':0'. Adopted: {lane, entry, fields, token, count}.
-- Errors: SQVERSION. Replay: takes further jobs; those of the lost reply are found as ghosts (reconcile).
local meta, index, bell = KEYS[1], KEYS[2], KEYS[9]
local consumer, want = ARGV[2], tonumber(ARGV[3])
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'released', 'flow')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
local now = whole(now_ms())
if m[2] then return {now, 'paused', {}} end
if m[4] then return {now, 'flow', {}} end

local lanes, adopted = streams(KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]), {}
local left, why = want, 'empty'
if m[3] then
  adopt_released(meta, index, lanes, consumer, want, adopted)
  left = want - #adopted
end
local reply = {now, why, adopted}
local dry = {}
local function walk(pattern)
  for digit, most in string.gmatch(ARGV[4], pattern) do
    if left <= 0 then return end
    local key, count = lanes[digit], most and math.min(left, tonumber(most)) or left
    local length = not dry[digit] and count > 0 and redis.pcall('XLEN', key) or 0
    if type(length) == 'table' then
      why, dry[digit] = length.err, true
    elseif length > 0 then
      local entries, problem = read_lane(key, consumer, count)
      if problem then
        why = problem
      elseif entries then
        left = left - #entries / 3
        reply[#reply + 1] = digit
        reply[#reply + 1] = entries
      end
      dry[digit] = not entries or #entries / 3 < count
    end
  end
end
if string.find(ARGV[4], ':', 1, true) then
  walk('(%d):(%d+)')
  walk('(%d):')
else
  walk('%d')
end
-- All is taken: any later enqueue rings anew. There may be more: the next idle worker wakes.
if left > 0 then redis.call('DEL', bell) else
  ring(bell)
  why = 'full'
end
reply[2] = why
return reply
