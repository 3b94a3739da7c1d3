-- take: fetch for a queue with flow control: jobs of lines whose gates are all open, and plain jobs of the lanes.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 bell list; 10 dead stream; 11 dead index hash;
--   12.. keys of flow control
-- ARGV: 1 protocol; 2 consumer; 3 want (1-500 places); 4 lane order, as in fetch; 5 free places of the worker, all
--   queues; 6 its places; 7 epoch of the rules it knows
-- Reply: {now ms, why, jobs, ms until the next alarm or -1, epoch, rules, walk, lane digit, entries, ...}; walk: lane,
--   jobs, waiting since ms, by turns, for each place of the order that gave some; why as in fetch, or
--   'gate' (stopped by a limit of the queue or by the reserve). A job is {lane, entry, fields, token, count, mark};
--   count - 1 are its stalls; mark: '', 'limited' (to be dropped or buried), 'batch' (first of a batch), or the entry id
--   of its batch's first. Rules: fields and values, when the epoch is another than asked with. One batch is one place.
-- Errors: SQVERSION. Replay: takes further jobs; those of the lost reply are ghosts (reconcile).
-- Bounded: 8 turns of lines a place and 32 more, 64 alarms.
local meta, index, taken, bell = KEYS[1], KEYS[2], KEYS[8], KEYS[9]
local consumer, want, free, places = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'released', 'flow', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
local epoch = m[4] or '0'
flow.open(12, meta, m[5])
local rules = epoch ~= ARGV[7] and redis.call('HGETALL', flow.keys.rules) or {}
if m[2] then return {whole(now), 'paused', {}, -1, epoch, rules} end
expect('s', taken, 's', KEYS[10], 'h', KEYS[11])
flow.work_off(64)

-- The gate of the whole queue: its jobs need not leave the lanes, all are equally subject to it.
local left, why = want, 'empty'
local q = next(flow.conf_of('q')) and flow.gate('q')
if q then
  local tokens = flow.tokens(q)
  local most = q.conf.c and q.conf.c >= 0 and q.conf.c or math.huge
  if most < math.huge then
    local used = -(tonumber(m[3]) or 0)
    for n = 3, 8 do
      local groups = redis.call('XLEN', KEYS[n]) > 0 and redis.call('XINFO', 'GROUPS', KEYS[n])[1] or {}
      for f = 1, #groups - 1, 2 do
        if groups[f] == 'pending' then used = used + groups[f + 1] end
      end
    end
    tokens = math.min(tokens, math.max(0, most - used))
  end
  left = math.min(left, tokens)
end
local allowed = left

local jobs, rows, gone, marks, order = {}, {}, {}, {}, {}
if m[3] and left > 0 then
  local lanes = {t = taken}
  for n = 0, 4 do lanes[tostring(n)] = KEYS[3 + n] end
  adopt_released(meta, index, lanes, consumer, left, jobs)
  left = left - #jobs
end

local since, gave = nil, {} -- of the place of the walk that has its turn
local function hand(id, lane, r, mark)
  local body = redis.call('HGET', flow.keys.bodies, id)
  if not body then
    -- Deleted by a foreign hand: told as a dead letter, not dropped silently.
    redis.call('HSET', KEYS[11], id, redis.call('XADD', KEYS[10], '*', 'j', id, 'd', '', 'r', 'body missing'))
    redis.call('HDEL', index, id)
    redis.call('HINCRBY', meta, 'dead', 1)
    return nil
  end
  if #order == 0 then
    local groups = redis.call('EXISTS', taken) == 1 and redis.call('XINFO', 'GROUPS', taken) or {}
    if #groups == 0 then make_taken_group(meta, taken) end
  end
  since = since or r[10]
  local entry = redis.call('XADD', taken, '*', 'j', id, 'd', body)
  local takes = (r[R_TAKES] or 0) + 1
  r[R_TAKEN], r[R_TAKES] = now, takes
  local token = with_record('t' .. entry .. ':' .. takes, r)
  rows[#rows + 1], rows[#rows + 2], gone[#gone + 1] = id, token, id
  order[#order + 1], marks[entry] = entry, {token, r[R_STALLS] + 1, mark}
  return entry
end

local reserve = flow.conf_of('g').v or 0
local open_places = reserve > 0 and free - math.ceil(places * reserve) or math.huge
local steps, started, kept_back = 8 * want + 32, 0, false
local function from_lines(lane, quota)
  while quota > 0 and steps > 0 and #order < 500 do
    steps = steps - 1
    local l = flow.first_ready(lane)
    if not l then return end
    if started >= open_places and flow.is_ahead(l) then
      kept_back = true
      return
    end
    local took = flow.try(l, index, hand)
    quota, left, started = quota - took, left - took, started + took
  end
end

local reply, plain_count = {}, 0
local function from_stream(digit, key, quota)
  local got = redis.pcall('XREADGROUP', 'GROUP', 'w', consumer, 'COUNT', quota, 'STREAMS', key, '>')
  if type(got) == 'table' and got.err and string.find(got.err, 'NOGROUP', 1, true) then
    redis.call('XGROUP', 'CREATE', key, 'w', '0')
    got = redis.pcall('XREADGROUP', 'GROUP', 'w', consumer, 'COUNT', quota, 'STREAMS', key, '>')
  end
  if type(got) == 'table' and got.err then
    why = got.err
  elseif got then
    local entries = got[1][2]
    since = since or string.match(entries[1][1], '^%d+')
    left, plain_count = left - #entries, plain_count + #entries
    reply[#reply + 1] = digit
    reply[#reply + 1] = entries
  end
end
local function walk(pattern)
  for digit, most in string.gmatch(ARGV[4], pattern) do
    if left <= 0 then return end
    local key, room, at_first = KEYS[3 + digit], most and math.min(left, tonumber(most)) or left, left
    local before = left
    since = nil
    local length = redis.pcall('XLEN', key)
    if type(length) == 'table' then
      why = length.err
    else
      -- Lines and plain jobs of a lane get half the places each, the odd one by turns; the rest goes to who has work.
      from_lines(tonumber(digit), length > 0 and math.floor((room + clock[5]) / 2) or room)
      room = room - (before - left)
      if length > 0 and room > 0 then
        before = left
        from_stream(digit, key, room)
        from_lines(tonumber(digit), room - (before - left))
      end
    end
    if left < at_first then gave[#gave + 1] = {digit, at_first - left, whole(tonumber(since or now))} end
  end
end
if string.find(ARGV[4], ':', 1, true) then
  walk('(%d):(%d+)')
  walk('(%d):')
else
  walk('%d')
end
if q then flow.spend(q, started + plain_count) end
if started + plain_count > 0 then clock[5] = 1 - clock[5] end

if #order > 0 then
  redis.call('HSET', index, unpack(rows))
  redis.call('HDEL', flow.keys.bodies, unpack(gone))
  -- What was really delivered, not what was added.
  for _, got in ipairs(redis.call('XREADGROUP', 'GROUP', 'w', consumer, 'COUNT', #order, 'STREAMS', taken, '>')[1][2]) do
    local mark = marks[got[1]]
    if mark then jobs[#jobs + 1] = {'t', got[1], got[2], mark[1], mark[2], mark[3]} end
  end
end
flow.save()
-- A take that a limit stopped does not ring: that would wake the workers in a circle. One that got something does.
local extra
if left <= 0 and allowed < want then
  why = 'gate'
  local tokens, wait = flow.tokens(q)
  extra = tokens > 0 and 1000 or wait -- a slot comes back by a settlement; the second is a back-up
elseif left <= 0 or steps <= 0 or #order >= 500 then
  why = 'full'
  ring(bell)
elseif kept_back then
  why = 'gate'
  if started > 0 then ring(bell) end
elseif why == 'empty' then
  redis.call('DEL', bell)
end
local places_walked = {}
for _, one in ipairs(gave) do
  for _, part in ipairs(one) do places_walked[#places_walked + 1] = part end
end
local head = {whole(now), why, jobs, flow.next_alarm(consumer, extra), epoch, rules, places_walked}
for _, part in ipairs(reply) do head[#head + 1] = part end
return head
