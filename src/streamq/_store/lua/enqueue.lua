-- enqueue: puts a batch of jobs into their lanes or among the delayed, once per (producer, seq).
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 delayed zset; 9 bodies hash; 10 dead index hash; 11 bell list;
--   12 memo string of this producer; 13 counters hash; 14 ten minutes hash; then in the build for lines the keys of
--   flow control; then record strings, one per custom id in order
-- ARGV: 1 protocol; 2 seq; 3 memo lifetime ms; 4 max pending jobs (0 none); 5 control channel; 6 what to count
--   (_tally_arrived.lua); then per job:
--   id; lane 0-4, followed by 'c' for a custom id; when ('0' now, '+ms', '@ms'); envelope; in the build for lines
--   also: record for its index row (flow/_lines.lua; '' for a plain job); dedup (flow/_arrival.lua; '' for none)
-- Reply: string 'now ms|refusals', a refusal being 'position:reason:detail,'; reasons: exists, full; in the build for
--   lines also group (detail: limit/waiting/name in hex), order (lane of its ordered line/line in hex), met (id of the
--   other in hex), limited, conflict (gate in hex).
-- Errors: SQSTALE (a later batch was taken already), SQVERSION.
-- Replay: the memo holds the reply and is written last; the same seq gets it back and nothing is done.
local meta, index, delayed, bodies, dead, bell, memo = KEYS[1], KEYS[2], KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12]
local protocol, seq, memo_ms, max_pending, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]

local known = remembered(memo, seq)
if known then return known end

-- Reads come first: a key of a wrong type fails here, before anything is written.
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'flow', 'fv')
local refused = wrong_protocol(m[1], protocol)
if refused then return refused end
local width = 4
if flow then
  flow.open(15, meta, m[4])
  width = 6
end
local unsettled = max_pending > 0 and redis.call('HLEN', index) or 0
local silent = redis.call('LLEN', bell) == 0
local now = now_ms()
local lanes = streams(KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7])
local ids, next_record, checked = {}, flow and 15 + flow.KEYS or 15, {}
for n = 7, #ARGV, width do
  ids[#ids + 1] = ARGV[n]
  if #ARGV[n + 1] > 1 and not checked.dead then
    checked.dead = true
    expect('h', dead)
  end
  local place = ARGV[n + 2] == '0' and string.sub(ARGV[n + 1], 1, 1) or 'd'
  if not checked[place] then
    checked[place] = true
    -- The lane of a single job is its first write, and fails by itself.
    if place == 'd' then expect('z', delayed, 'h', bodies) elseif #ARGV > 6 + width then expect('s', lanes[place]) end
  end
end
local rows = redis.call('HMGET', index, unpack(ids))
if flow then expect('h', flow.keys.dedup, 'h', flow.keys.cancels, 'z', delayed) end

-- A custom id is unique while its job is unsettled, dead, or within the lifetime of its record.
local function custom_taken(id, record)
  if redis.call('HEXISTS', dead, id) == 1 then return 'dead' end
  if redis.call('EXISTS', record) == 1 then return 'record' end
end

if not m[1] then redis.call('HSET', meta, PROTOCOL_FIELD, protocol) end
local places, refusals, waiting, first_due, mine = {}, {}, false, nil, {}
local function place(id, row)
  local n = #places
  places[n + 1], places[n + 2] = id, row
end
local function note_due(due)
  if not first_due or due < first_due then first_due = due end
end
local env = flow and flow.arrivals(index, delayed, channel, place, note_due)
for n = 1, #ids do
  local at = 7 + (n - 1) * width
  local id, lane, when, body = ids[n], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local where = rows[n] and 'row' .. string.sub(rows[n], 1, 1)
  local custom = #lane > 1
  if custom then
    where = where or mine[id] or custom_taken(id, KEYS[next_record])
    next_record, lane = next_record + 1, string.sub(lane, 1, 1)
  end
  if where then
    refusals[#refusals + 1] = n .. ':exists:' .. where .. ','
  elseif max_pending > 0 and unsettled >= max_pending then
    refusals[#refusals + 1] = n .. ':full:' .. max_pending .. ','
  else
    local row, refusal, r
    if flow then
      r = ARGV[at + 4] ~= '' and cmsgpack.unpack(ARGV[at + 4])
      local d = ARGV[at + 5] ~= '' and cmsgpack.unpack(ARGV[at + 5])
      refusal, when = flow.admit(env, id, lane, when, body, r, d)
    end
    if refusal then
      refusals[#refusals + 1] = n .. ':' .. refusal .. ','
    else
      unsettled = unsettled + 1
      if r then env.lines = true end
      if when == '0' and r then
        redis.call('HSET', bodies, id, body)
        row = flow.add(id, lane, r)
      elseif when == '0' then
        row = lane .. redis.call('XADD', lanes[lane], '*', 'j', id, 'd', body) .. ':0'
        waiting = true
      else
        local due = due_ms(when, now)
        redis.call('ZADD', delayed, whole(due), id)
        redis.call('HSET', bodies, id, body)
        row = r and flow.delayed(lane, r) or 'd' .. lane
        note_due(due)
      end
      if custom then mine[id] = 'row' .. string.sub(row, 1, 1) end
      if flow then env.place(id, row) else place(id, row) end
    end
  end
end
if #places > 0 then redis.call('HSET', index, unpack(places)) end
if flow then
  flow.collect_dedup(index)
  if flow.save() then waiting = true end
  if env.lines and not m[3] then redis.call('HSET', meta, 'flow', '1') end
end
if waiting and silent and not m[2] then redis.call('LPUSH', bell, '1') end
if first_due then
  local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  if tonumber(head[2]) >= first_due then redis.call('SPUBLISH', channel, 'due ' .. whole(first_due)) end
end
tally_arrived(KEYS[13], KEYS[14], ARGV[6], #ids, refusals)
local reply = whole(now) .. '|' .. table.concat(refusals)
redis.call('SET', memo, seq .. '|' .. reply, 'PX', memo_ms)
return reply
