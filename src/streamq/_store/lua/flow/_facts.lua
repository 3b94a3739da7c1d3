-- For verify and recover: the facts of one thing in one moment. What a thing is, its letter says; facts are texts, '1'
-- for yes and '' for no. Their digest is what recover compares before it mends. KEYS are those of verify.
local silent_ms = tonumber(ARGV[2])
local lane_keys = streams(KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
local facts = {}

local function yes(found) return found and found ~= 0 and '1' or '' end

-- Id, body and being there of an entry; an id that cannot be one is none.
local function entry_of(key, entry)
  local found = string.match(entry, '^%d+%-%d+$') and redis.call('XRANGE', key, entry, entry)[1]
  if not found then return '', '', '' end
  local id, body, fields = '', '', found[2]
  for n = 1, #fields - 1, 2 do
    if fields[n] == 'j' and #fields[n + 1] <= 1000 then id = fields[n + 1] end
    if fields[n] == 'd' then body = '1' end
  end
  return id, body, '1'
end

-- A row that a foreign hand wrote may hold anything.
local function record_in(row)
  local ok, r = pcall(record_of, row)
  return ok and type(r) == 'table' and type(r[R_SEQ]) == 'number' and r or nil
end

local function name_in(row) return string.match(row, '^..(%Z*)') or '' end

-- Whether the place that a row names has the job.
local function is_there(id, row)
  local place, r = string.sub(row, 1, 1), record_in(row)
  if place == 'd' then return redis.call('ZSCORE', KEYS[9], id) end
  if place == 'p' then return redis.call('ZSCORE', KEYS[10], name_in(row) .. '\0' .. id) end
  if place == 'f' then return r and redis.call('ZSCORE', K.jobs, member(string.sub(row, 2, 2), r[R_SEQ], id)) end
  local key, entry = lane_keys[place], string.match(row, '^.(%d+%-%d+):')
  return key and entry and entry_of(key, entry) == id
end

local function is_silent(consumer)
  if consumer == '~' or consumer == '!' then return false end
  local beat = redis.call('ZSCORE', KEYS[15], consumer)
  return not beat or now - tonumber(beat) > silent_ms
end

-- Whether the group of a stream is beyond an entry: what nobody holds there is handed out to nobody any more.
local ends = {}
local function is_past(key, entry)
  local ms, n = string.match(entry, '^(%d+)%-(%d+)$')
  if not ends[key] then
    ends[key] = {-1, 0}
    local info = redis.call('XINFO', 'GROUPS', key)[1] or {}
    for f = 1, #info - 1, 2 do
      local last, number = string.match(tostring(info[f + 1]), '^(%d+)%-(%d+)$')
      if info[f] == 'last-delivered-id' then ends[key] = {tonumber(last), tonumber(number)} end
    end
  end
  local last = ends[key]
  return tonumber(ms) < last[1] or (tonumber(ms) == last[1] and tonumber(n) <= last[2])
end

-- Whether a dead letter keeps the envelope of a job.
local function is_kept(id)
  local at = redis.call('HGET', KEYS[12], id) or ''
  return entry_of(KEYS[11], at) == id and body_of(KEYS[11], at) ~= ''
end

-- Who holds an entry, whether he was not heard of, and the deliveries.
local function holder(key, entry)
  local held = redis.pcall('XPENDING', key, 'w', entry, entry, 1)
  local p = not held.err and held[1]
  if not p then return '', '', 0 end
  return p[2], yes(p[3] > silent_ms and is_silent(p[2])), p[4]
end

-- i: a job by its id: row, body, due, there, dead letter, the letter is there, asked to stop, waited for, ended.
function facts.i(id, record)
  local row, letter = redis.call('HGET', KEYS[2], id) or '', redis.call('HGET', KEYS[12], id)
  return {
    row, yes(redis.call('HEXISTS', K.bodies, id)), yes(redis.call('ZSCORE', KEYS[9], id)),
    yes(row ~= '' and is_there(id, row)), yes(letter), yes(letter and entry_of(KEYS[11], letter) == id),
    yes(redis.call('HEXISTS', K.cancels, id)), yes(redis.call('HEXISTS', KEYS[13], id)),
    yes(redis.call('EXISTS', record) == 1 or redis.call('HEXISTS', KEYS[17], id) == 1),
  }
end

-- 0 to 4, t: an entry of a stream: there, id, body, row of that job, it names this entry, its place has the job, dead,
-- who holds it, he is silent, the group is past it.
for lane, key in pairs(lane_keys) do
  facts[lane] = function(entry)
    local id, body, there = entry_of(key, entry)
    local row, place = id ~= '' and redis.call('HGET', KEYS[2], id) or '', lane .. entry .. ':'
    local is_same = string.sub(row, 1, #place) == place
    local past, owner, silent = there ~= '' and is_past(key, entry), '', ''
    if past or there == '' then owner, silent = holder(key, entry) end
    return {
      there, id, body, row, yes(is_same), yes(row ~= '' and not is_same and is_there(id, row)),
      yes(id ~= '' and is_kept(id)), owner, silent, yes(past),
    }
  end
end
