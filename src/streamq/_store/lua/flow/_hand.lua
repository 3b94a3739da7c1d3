-- Flow control, for take: how jobs leave their line for the hand of a worker, a batch in one piece. KEYS are those of
-- take.
local handed = {marks = {}, rows = {}, gone = {}, since = nil} -- entry ids in order; of the first: since when it waited
local index = KEYS[2]

-- Puts a job into the taken stream. Returns its entry id, nil when it had no body.
local function hand(id, r, mark)
  local body = redis.call('HGET', K.bodies, id)
  if not body then
    bury_missing(id, meta_key, index, KEYS[10], KEYS[11], KEYS[12], K.cancels, KEYS[13])
    return nil
  end
  if #handed == 0 then
    local groups = redis.call('EXISTS', KEYS[8]) == 1 and redis.call('XINFO', 'GROUPS', KEYS[8]) or {}
    if #groups == 0 then make_taken_group(meta_key, KEYS[8]) end
  end
  handed.since = handed.since or r[R_SINCE]
  local entry = redis.call('XADD', KEYS[8], '*', 'j', id, 'd', body)
  r[R_TAKEN], r[R_TAKES] = now, (r[R_TAKES] or 0) + 1
  local token, rows, gone = with_record('t' .. entry .. ':' .. r[R_TAKES], r), handed.rows, handed.gone
  rows[#rows + 1], rows[#rows + 2], gone[#gone + 1] = id, token, id
  handed[#handed + 1], handed.marks[entry] = entry, {token, r[R_STALLS] + 1, mark}
  return entry
end

-- Delivers what was put there; adds to `jobs` what was really delivered, not what was added.
function flow.deliver(consumer, jobs)
  local rows, gone, marks = handed.rows, handed.gone, handed.marks
  if #gone == 0 then return end
  -- The last line may have given a whole batch: 1,000 values at a time.
  for n = 1, #gone, 500 do
    local last = math.min(n + 499, #gone)
    redis.call('HSET', index, unpack(rows, 2 * n - 1, 2 * last))
    redis.call('HDEL', K.bodies, unpack(gone, n, last))
  end
  local got = redis.call('XREADGROUP', 'GROUP', 'w', consumer, 'COUNT', #handed, 'STREAMS', KEYS[8], '>')
  for _, one in ipairs(got[1][2]) do
    local mark = marks[one[1]]
    if mark then jobs[#jobs + 1] = {'t', one[1], one[2], mark[1], mark[2], mark[3]} end
  end
end

local function leave(job, r)
  redis.call('ZREM', K.jobs, job)
  for _, name in ipairs(r[R_GATES]) do
    local g = gate(name)
    g.waiting = math.max(0, g.waiting - 1)
  end
end

-- Hands a job over that holds no gate: expired, limited, or the follower of a batch.
local function hand_free(job, r, mark)
  leave(job, r)
  r[R_FREE] = true
  hand(string.sub(job, 10), r, mark)
end

-- A batch is one start, one slot, one token: those of its first item.
local function hand_followers(l, leader, size)
  for _, job in ipairs(redis.call('ZRANGE', K.jobs, l.number, l.number, 'BYSCORE', 'LIMIT', 0, size - 1)) do
    local r = record_of(redis.call('HGET', index, string.sub(job, 10)))
    if r then
      hand_free(job, r, leader)
    else
      redis.call('ZREM', K.jobs, job)
    end
  end
end

-- `more`: whether somebody else waited when a job without a batch was taken.
local function after_turn(l, r, more)
  local batch, rest = r[R_BATCH], more and 1 or 0
  if batch then rest = jobs_in(l) end
  if rest == 0 then return drop(l) end
  l.tag = charge(l, r, false)
  if batch and rest < batch[1] then
    local oldest = record_of(redis.call('HGET', index, string.sub(first_job(l), 10)))
    l.since = oldest and oldest[R_SINCE] or now
    out_of_place(l)
    hold(l, math.max(now, batch_due(l, batch)))
  else
    into_ring(l) -- it is there: its tag becomes another
  end
end
