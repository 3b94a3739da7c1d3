-- tick: what a worker does every two seconds in one call: heartbeat, own pending count, sweep of stalled jobs, marks.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 delayed zset; 10 parked zset; 11 cancels hash;
--   12 workers hash; 13 beats zset; 14 bell list; 15 window list; 16 window hash; 17 counters hash; 18 ten minutes
--   hash; then in the build for lines the keys of flow control
-- ARGV: 1 protocol; 2 consumer; 3 heartbeat blob; 4 lease ms; 5 free slots; 6 max stalls; 7 suspects allowed (0 or 1);
--   8 least ms between two sweeps; 9 1 to sweep, 0 not to (clock in doubt); 10 age bound of the window ms (0 none);
--   11 minute of the ten (0-9)
-- Reply: {now ms, next due ms or -1, turn holder, own pending entries, parked jobs, paused (0 or 1), stalled jobs,
--   marks, waiting (1 when a fetch would find a job, else 0), epoch of the rules ('0': no flow control)}
--   A stalled job is {lane, entry, fields, token, count}; count - 1 is its stalls; over max stalls it is to be buried.
--   A stalled job of a line goes back to its place there once; stalled again it is a suspect like any other. In the
--   plain build the taken stream is not swept when there are lines, and others do not wait after such a sweep.
--   A consumer's first tick counts as a heartbeat of all consumers that have none, so that they are forgotten in time.
--   Marks: ids of jobs to be cancelled. Replay: a sweep whose reply was lost leaves ghosts (reconcile).
local meta, index, beats = KEYS[1], KEYS[2], KEYS[13]
local consumer, lease, free, max_stalls = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local suspects = tonumber(ARGV[7])
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'turn', 'swept', 'cancels', 'sweep', 'released',
  'flow', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
if flow then flow.open(19, meta, m[9]) end
local now = now_ms()
local back = m[4] and tonumber(m[4]) - now or 0 -- the server's clock was set back by so much
if flow and back > 1000 then flow.set_back(back) end
if not m[1] then redis.call('HSET', meta, PROTOCOL_FIELD, ARGV[1]) end
redis.call('HSET', KEYS[12], consumer, ARGV[3])
local is_new = redis.call('ZADD', beats, whole(now), consumer) == 1

local lanes, pending, waiting = {}, 0, m[7] and 1 or 0
for n = 0, 4 do lanes[n + 1] = {tostring(n), KEYS[3 + n]} end
lanes[6] = {'t', KEYS[8]}
for _, lane in ipairs(lanes) do
  local length = redis.call('XLEN', lane[2])
  if length > 0 then
    local groups = redis.pcall('XPENDING', lane[2], 'w')
    if groups.err and string.find(groups.err, 'NOGROUP', 1, true) then
      if lane[1] == 't' then make_taken_group(meta, lane[2]) else redis.call('XGROUP', 'CREATE', lane[2], 'w', '0') end
      waiting = 1
    elseif not groups.err and groups[1] < length and lane[1] ~= 't' then
      waiting = 1
    end
    if not groups.err and groups[1] > 0 then
      lane.pending = true
      for _, c in ipairs(groups[4]) do
        if c[1] == consumer then pending = pending + c[2] end
        if c[1] == '~' then lane.released = true end
      end
    end
  end
end

-- One claimed entry: who had it and how often it was delivered decides. Returns a job, or nil when handed back.
local jobs, stalled, noted = {}, 0, {{}, {}}
local function judge(lane, entry, released)
  local p = redis.call('XPENDING', lane[2], 'w', entry, entry, 1)[1]
  if not p then return nil end
  local count, earlier, record = p[4], 0, nil
  if not released[entry] then count = count + 1 end
  if flow and lane[1] == 't' then earlier, record = flow.stalls(index, lane[2], entry) end
  local total = count + earlier
  if record and total == 2 and max_stalls > 0 and not released[entry] then
    stalled, noted = stalled + 1, note(noted, body_of(lane[2], entry), STALLED)
    flow.put_back(index, lane[2], entry, 1)
    return nil
  end
  local suspect = total >= 3 and total - 1 <= max_stalls
  if (suspect and suspects <= 0) or free <= 0 or (suspect and record and not flow.pay_again(record)) then
    -- Waits with the pseudo-consumer ! , its idle time kept, for a worker with room (poison jobs run one at a time).
    redis.call('XCLAIM', lane[2], 'w', released[entry] and '~' or '!', 0, entry, 'IDLE', lease, 'JUSTID')
    return nil
  end
  if suspect then suspects = suspects - 1 end
  local job = claim(index, lane[2], lane[1], entry, consumer, count)
  if job then job[5] = total end
  return job
end

local due_sweep = not m[4] or back > 1000 or -back >= tonumber(ARGV[8])
if ARGV[9] == '1' and due_sweep and free > 0 and not m[2] then
  local marks, cursor = {}, tostring(m[6] or '')
  for _, lane in ipairs(lanes) do
    if lane.pending and (flow or lane[1] ~= 't' or not m[8]) then
      local from = string.match(cursor, lane[1] .. '=([%d%-]+)') or '0-0'
      for _ = 1, 10 do
        -- Entries that were released, not stalled: not to be charged. As many as the next call may claim.
        local released = {}
        local listed = lane.released and redis.call('XPENDING', lane[2], 'w', 'IDLE', lease, from, '+', 100, '~') or {}
        for _, p in ipairs(listed) do released[p[1]] = true end
        local got = redis.call('XAUTOCLAIM', lane[2], 'w', consumer, lease, from, 'COUNT', 100, 'JUSTID')
        local before = free
        for _, entry in ipairs(got[2]) do
          local job = judge(lane, entry, released)
          if job then
            jobs[#jobs + 1] = job
            free = free - 1
            if not released[entry] then stalled, noted = stalled + 1, note(noted, job[3], STALLED) end
          end
        end
        if free > 0 or before == free then from = got[1] end
        if got[1] == '0-0' or free <= 0 then break end
      end
      marks[#marks + 1] = lane[1] .. '=' .. from
    end
  end
  -- Who left the taken stream out has not swept: whoever is next does, however soon that is.
  if flow or not m[8] then redis.call('HSET', meta, 'swept', whole(now), 'sweep', table.concat(marks, ' ')) end
  if stalled > 0 then
    redis.call('HINCRBY', meta, 'stalled', stalled)
    tally(KEYS[17], KEYS[18], ARGV[11], noted[1], noted[2])
  end
end

if is_new then hear_of_all(lanes, beats, now) end
forget_silent(lanes, KEYS[12], beats, now - 600000)
forget_old(KEYS[15], KEYS[16], tonumber(ARGV[10]), now)

-- Who swept may have no room any more for what went back into lines.
if flow and flow.save() and not m[2] then ring(KEYS[14]) end
if flow and (flow.is_ready() or flow.is_late()) then waiting = 1 end
local turn = promoter(meta, beats, m[3], consumer, now)
local head = redis.call('ZRANGE', KEYS[9], 0, 0, 'WITHSCORES')[2]
local cancels = m[5] and redis.call('HRANDFIELD', KEYS[11], 500) or {}
return {
  whole(now), head and whole(math.max(0, head)) or '-1', turn, pending, redis.call('ZCARD', KEYS[10]),
  m[2] and 1 or 0, jobs, cancels, waiting, m[8] or '0',
}
