-- promote: moves due jobs from the delayed to their lanes; with ids given, those, due or not.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 delayed zset; 9 bodies hash; 10 bell list; 11 dead stream;
--   12 dead index hash; 13 waiters hash; 14 cancels hash; 15 deaths hash; then in the build for lines the keys of flow
--   control
-- ARGV: 1 protocol; 2 consumer (turn taker; '' takes none); 3 limit (1-500); 4.. ids to promote now
-- Reply: {now ms, promoted, next due ms or -1, turn holder, jobs left because they belong into lines (the plain build
--   does not know of them: call the other)}. An ordered line that is held for the backoff of a job given by id goes on.
-- Replay: promotes what is due by then; an id already moved is not counted. Never early: due is compared in whole ms on
--   the server's clock. Of which the index row is gone goes where its envelope says; without one it is a dead letter.
local meta, index, delayed, bodies, bell = KEYS[1], KEYS[2], KEYS[8], KEYS[9], KEYS[10]
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'turn', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
if flow then flow.open(16, meta, m[4]) end
local now, by_hand = now_ms(), #ARGV > 3
local ids = {}
if by_hand then
  for n = 4, #ARGV do ids[#ids + 1] = ARGV[n] end
else
  ids = redis.call('ZRANGE', delayed, '-inf', whole(now), 'BYSCORE', 'LIMIT', 0, ARGV[3])
end
local promoted, left = 0, 0
if #ids > 0 then
  local rows = redis.call('HMGET', index, unpack(ids))
  local found = redis.call('HMGET', bodies, unpack(ids))
  -- Reads come first: a key of a wrong type fails here, before anything is written.
  expect('z', delayed, 'l', bell, 's', KEYS[11], 'h', KEYS[12])
  local looked = {}
  for n = 1, #ids do
    if not rows[n] and found[n] and not by_hand and redis.call('HEXISTS', KEYS[12], ids[n]) == 0 then
      rows[n] = 'd' .. lane_of(found[n])
    end
    local lane = rows[n] and string.match(rows[n], '^d(%d)')
    if lane and not looked[lane] then
      looked[lane] = true
      expect('s', KEYS[3 + lane])
    end
  end
  local places, gone, bodiless = {}, {}, {}
  for n, id in ipairs(ids) do
    local row, body = rows[n], found[n]
    local place = row and string.sub(row, 1, 1)
    local is_delayed = place == 'd'
    local in_line = is_delayed and body and #row > 2
    local is_held = flow and by_hand and place == 'f'
    if is_held and flow.hasten(id, row, index) then promoted = promoted + 1 end
    if in_line and flow then
      places[#places + 1] = id
      places[#places + 1] = flow.add(id, string.sub(row, 2, 2), flow.record_of(row))
      promoted = promoted + 1
    elseif in_line then
      left = left + 1
    elseif is_delayed and body then
      local lane = string.sub(row, 2, 2)
      local entry = redis.call('XADD', KEYS[3 + lane], '*', 'j', id, 'd', body)
      places[#places + 1] = id
      places[#places + 1] = lane .. entry .. ':0'
      promoted = promoted + 1
    elseif is_delayed or not (row or body or by_hand) then
      bury_missing(id, meta, index, KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15])
    end
    if (is_delayed or not by_hand) and not (in_line and not flow) then gone[#gone + 1] = id end
    -- What is parked or in a line, and among the delayed by a foreign hand, keeps its envelope.
    local has_body = in_line or place == 'p' or place == 'f'
    if (is_delayed or not by_hand) and not has_body then bodiless[#bodiless + 1] = id end
  end
  if #places > 0 then redis.call('HSET', index, unpack(places)) end
  if #gone > 0 then redis.call('ZREM', delayed, unpack(gone)) end
  if #bodiless > 0 then redis.call('HDEL', bodies, unpack(bodiless)) end
  if flow then flow.save() end
end
local turn = m[3] or ''
if promoted > 0 then
  if not m[2] then ring(bell) end
  if ARGV[2] ~= '' and turn ~= ARGV[2] then
    redis.call('HSET', meta, 'turn', ARGV[2])
    turn = ARGV[2]
  end
end
local head = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
return {whole(now), promoted, head and whole(math.max(0, head)) or '-1', turn, left}
