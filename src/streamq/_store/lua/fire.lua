-- fire: fires one tick of a schedule, once however many schedulers try, and moves the schedule on to its next tick.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 states hash; 9 ticks zset; 10 bell list; 11 dead index hash;
--   12 record string of the job; 13 delayed zset; 14 counters hash; 15 ten minutes hash; then in the build for lines
--   the keys of flow control
-- ARGV: 1 protocol; 2 schedule id; 3 version; 4 last tick ms as the scheduler knows it; 5 tick ms, '' to move on
--   without firing; 6 next tick ms, '+inf' for none; 7 job id; 8 lane 0-4; 9 envelope; 10 max pending jobs (0 none);
--   11 scheduler, whose turn it is if it fires; 12 minute of the ten (0-9); 13 tick ms that was missed, or ''; in the
--   build for lines also: 14 record for its index row; 15 dedup (both as in enqueue); 16 control channel
-- Reply: 'fired', 'moved', 'exists' (a job of this id is there or ended lately; the tick counts as fired), 'already'
--   (somebody fired it, or a later one), 'stale' (changed, paused or removed), 'early', 'full' (the queue or its
--   group); in the build for lines also 'met', 'limited', 'conflict', 'order' (as enqueue refuses; the tick counts as
--   fired).
-- Errors: SQVERSION, OOM before anything is written. Replay: 'already' or 'stale'; the tick is not fired again.
local index, states, ticks, bell = KEYS[2], KEYS[8], KEYS[9], KEYS[10]
local id, version, tick, job = ARGV[2], ARGV[3], ARGV[5], ARGV[7]
local m = redis.call('HMGET', KEYS[1], PROTOCOL_FIELD, 'paused', 'ticker', 'flow', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
if flow then flow.open(16, KEYS[1], m[5]) end
local state = redis.call('HGET', states, id)
if not state then return 'stale' end
local status, current, last, count, rest = string.match(state, '(%S+) (%S+) (%S+) (%S+) (.+)')
if current ~= version or status ~= 'on' then return 'stale' end
-- Another last tick: what was computed from it may leave one out.
if last ~= ARGV[4] then return 'already' end
expect('h', index, 'z', ticks, 'l', bell, 'h', KEYS[11], 's', KEYS[3 + ARGV[8]])
-- Once: whoever comes later finds it at another tick.
local function count_missed()
  if ARGV[13] ~= '' and tonumber(redis.call('ZSCORE', ticks, id)) == tonumber(ARGV[13]) then
    redis.call('HINCRBY', KEYS[1], 'missed', 1)
  end
end
if tick == '' then
  count_missed()
  redis.call('ZADD', ticks, ARGV[6], id)
  return 'moved'
end
if tonumber(tick) <= tonumber(last) then return 'already' end
if tonumber(tick) > now_ms() then return 'early' end
local known = redis.call('HEXISTS', index, job) == 1 or redis.call('HEXISTS', KEYS[11], job) == 1
  or redis.call('EXISTS', KEYS[12]) == 1
local limit = tonumber(ARGV[10])
if not known and limit > 0 and redis.call('HLEN', index) >= limit then return 'full' end

-- The one place where the job of a tick enters the queue. Returns why it did not.
local function put(lane, body)
  local r, when, wake, refusal = false, '0', true, nil
  local function place(id, row) redis.call('HSET', index, id, row) end
  local function note(due) redis.call('SPUBLISH', ARGV[16], 'due ' .. whole(due)) end
  if flow then
    r = ARGV[14] ~= '' and cmsgpack.unpack(ARGV[14])
    local d = ARGV[15] ~= '' and cmsgpack.unpack(ARGV[15])
    refusal, when = flow.admit(flow.arrivals(index, KEYS[13], ARGV[16], place, note), job, lane, when, body, r, d)
    if refusal then return string.match(refusal, '^%a+') end
    if r and not m[4] then redis.call('HSET', KEYS[1], 'flow', '1') end
  end
  if when ~= '0' then
    local due = due_ms(when, now_ms())
    redis.call('HSET', flow.keys.bodies, job, body)
    redis.call('ZADD', KEYS[13], whole(due), job)
    place(job, r and flow.delayed(lane, r) or 'd' .. lane)
    note(due)
    wake = false
  elseif r then
    redis.call('HSET', flow.keys.bodies, job, body)
    place(job, flow.add(job, lane, r))
  else
    place(job, lane .. redis.call('XADD', KEYS[3 + lane], '*', 'j', job, 'd', body) .. ':0')
  end
  if flow then
    flow.collect_dedup(index)
    wake = flow.save() or wake
  end
  if wake and not m[2] then ring(bell) end
end

local refusal = not known and put(ARGV[8], ARGV[9])
if refusal == 'group' then return 'full' end
count_missed()
local letter = refusal and LETTERS[refusal] or known and 'd' or not refusal and 'a'
if letter then
  local noted = note({{}, {}}, ARGV[9], SLOTS[letter])
  count_jobs(KEYS[14], KEYS[15], ARGV[12], letter, next(noted[1]), 1)
  tally(KEYS[14], KEYS[15], ARGV[12], {}, noted[2])
end
redis.call('HSET', states, id, table.concat({'on', version, tick, whole(count + 1), rest}, ' '))
redis.call('ZADD', ticks, ARGV[6], id)
if string.match(m[3] or '', '^%S+') ~= ARGV[11] then
  redis.call('HSET', KEYS[1], 'ticker', ARGV[11] .. ' ' .. whole(now_ms()))
end
return refusal or known and 'exists' or 'fired'
