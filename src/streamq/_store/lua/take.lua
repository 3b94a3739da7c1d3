-- take: fetch for a queue with flow control: jobs of lines whose gates are all open, and plain jobs of the lanes.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 bell list; 10 dead stream; 11 dead index hash;
--   12 waiters hash; 13 deaths hash; 14.. keys of flow control
-- ARGV: 1 protocol; 2 consumer; 3 want (1-500 places); 4 lane order, as in fetch; 5 free places of the worker, all
--   queues; 6 its places; 7 epoch of the rules it knows
-- Reply: {now ms, why, jobs, ms until the next alarm or -1, epoch, rules, walk, lane digit, entries, ...}; walk: lane,
--   jobs, waiting since ms, by turns, for each place of the order that gave some; entries and why as in fetch, or
--   'gate' (stopped by a limit of the queue or by the reserve). A job is {lane, entry, fields, token, count, mark};
--   count - 1 are its stalls; mark: '', 'limited' (to be dropped or buried), 'batch' (first of a batch), or the entry
--   id of its batch's first. Rules: fields and values, when the epoch is another than asked with. One batch is one
--   place.
-- Errors: SQVERSION. Replay: takes further jobs; those of the lost reply are ghosts (reconcile).
-- Bounded: 8 turns of lines a place and 32 more, 64 alarms.
local meta, index, taken, bell = KEYS[1], KEYS[2], KEYS[8], KEYS[9]
local consumer, want, free, places = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'released', 'flow', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
local epoch = m[4] or '0'
flow.open(14, meta, m[5])
local rules = epoch ~= ARGV[7] and redis.call('HGETALL', flow.keys.rules) or {}
if m[2] then return {whole(now), 'paused', {}, -1, epoch, rules, {}} end
expect('s', taken, 's', KEYS[10], 'h', KEYS[11])
flow.work_off(64)

local why, q, left = 'empty', flow.queue_gate(want, m[3])
local allowed = left

local jobs = {}
if m[3] and left > 0 then
  local lanes = streams(KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], taken)
  adopt_released(meta, index, lanes, consumer, left, jobs)
  left = left - #jobs
end

local reserve = flow.conf_of('g').v or 0
-- Of few places not all: a group that is alone would else wait for ever.
local open_places = reserve > 0 and free - math.min(math.ceil(places * reserve), places - 1) or math.huge
local steps, started, kept_back, gave = 8 * want + 32, 0, false, {}
local function from_lines(lane, quota)
  while quota > 0 and steps > 0 and #handed < 500 do
    steps = steps - 1
    local l = flow.first_ready(lane)
    if not l then return end
    if started >= open_places and flow.is_ahead(l) then
      kept_back = true
      return
    end
    local took = flow.try(l)
    quota, left, started = quota - took, left - took, started + took
  end
end

local reply, plain_count = {}, 0
local function from_stream(digit, key, quota)
  local entries, problem = read_lane(key, consumer, quota)
  if problem then
    why = problem
  elseif entries then
    handed.since = handed.since or string.match(entries[1], '^%d+')
    left, plain_count = left - #entries / 3, plain_count + #entries / 3
    reply[#reply + 1] = digit
    reply[#reply + 1] = entries
  end
end
local function walk(pattern)
  for digit, most in string.gmatch(ARGV[4], pattern) do
    if left <= 0 then return end
    local key, room, at_first = KEYS[3 + digit], most and math.min(left, tonumber(most)) or left, left
    local before = left
    handed.since = nil
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
    if left < at_first then
      gave[#gave + 1], gave[#gave + 2] = digit, at_first - left
      gave[#gave + 1] = whole(tonumber(handed.since or now))
    end
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

flow.deliver(consumer, jobs)
flow.save()
-- A take that a limit stopped does not ring: that would wake the workers in a circle. One that got something does.
local extra
if left <= 0 and allowed < want then
  why = 'gate'
  local tokens, wait = flow.tokens(q)
  extra = tokens > 0 and 1000 or wait -- a slot comes back by a settlement; the second is a back-up
elseif left <= 0 or steps <= 0 or #handed >= 500 then
  why = 'full'
  ring(bell)
elseif kept_back then
  why = 'gate'
  if started > 0 then ring(bell) end
elseif why == 'empty' and flow.is_ready() then
  -- A turn let a line of a better lane go on, whose place in the walk was over: it has its turn in the next take.
  why = 'full'
  ring(bell)
elseif why == 'empty' then
  redis.call('DEL', bell)
end
local head = {whole(now), why, jobs, flow.next_alarm(consumer, extra), epoch, rules, gave}
for _, part in ipairs(reply) do head[#head + 1] = part end
return head
