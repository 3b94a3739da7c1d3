-- Shared by the verbs that hand a pending entry to a worker: adopt, reclaim, reconcile. Prepended by scripts.py.

-- Gives `entry` of stream `key` (lane letter `lane`) to `consumer`: take + 1 in the row, idle 0, delivery count set to
-- `count`. Returns {lane, entry, fields, token, count}, or nil when the entry was an orphan and has been removed.
local function claim(index, key, lane, entry, consumer, count)
  local found = redis.call('XRANGE', key, entry, entry)
  if #found == 0 then
    redis.call('XACK', key, 'w', entry)
    return nil
  end
  local fields, id = found[1][2], nil
  for n = 1, #fields - 1, 2 do
    if fields[n] == 'j' and fields[n + 1] ~= '' and #fields[n + 1] <= 1000 then id = fields[n + 1] end
  end
  local token = lane .. entry .. ':0'
  if id then
    local row = redis.call('HGET', index, id)
    local place = lane .. entry .. ':'
    if row and string.sub(row, 1, #place) ~= place then
      -- The index names another place: this entry is a leftover of a foreign hand.
      redis.call('XACK', key, 'w', entry)
      redis.call('XDEL', key, entry)
      return nil
    end
    local take, rest = string.match(row or '', ':(%d+)(.*)$')
    token = place .. ((tonumber(take) or 0) + 1) .. (rest or '')
    redis.call('HSET', index, id, token)
  end
  redis.call('XCLAIM', key, 'w', consumer, 0, entry, 'IDLE', 0, 'RETRYCOUNT', count, 'JUSTID')
  return {lane, entry, fields, token, count}
end

-- Hands up to `want` entries that stopping workers released (pseudo-consumer ~) to `consumer`, uncharged.
local function adopt_released(meta, index, lanes, consumer, want, out)
  local left = 0
  for lane, key in pairs(lanes) do
    if redis.call('XLEN', key) > 0 then
      local pending = #out < want and redis.pcall('XPENDING', key, 'w', '-', '+', want - #out, '~') or {}
      for _, p in ipairs(pending.err and {} or pending) do
        local job = claim(index, key, lane, p[1], consumer, p[4])
        if job then out[#out + 1] = job end
      end
      -- What is left is counted by the server: there may be more than one look can list.
      local held = redis.pcall('XPENDING', key, 'w')
      for _, c in ipairs(not held.err and held[4] or {}) do
        if c[1] == '~' then left = left + c[2] end
      end
    end
  end
  if left > 0 then redis.call('HSET', meta, 'released', left) else redis.call('HDEL', meta, 'released') end
end

-- Reads up to `count` waiting entries of a lane. Returns them (nil: none), or nil and an error text. They are told in a
-- flat list, for tables are what a reply costs most: entry id, job id, envelope; or entry id, '', fields when the entry
-- is none of ours.
local function read_lane(key, consumer, count)
  local got = redis.pcall('XREADGROUP', 'GROUP', 'w', consumer, 'COUNT', count, 'STREAMS', key, '>')
  if type(got) == 'table' and got.err and string.find(got.err, 'NOGROUP', 1, true) then
    redis.call('XGROUP', 'CREATE', key, 'w', '0')
    got = redis.pcall('XREADGROUP', 'GROUP', 'w', consumer, 'COUNT', count, 'STREAMS', key, '>')
  end
  if type(got) == 'table' and got.err then return nil, got.err end
  if not got then return nil end
  local flat, entries = {}, got[1][2]
  for n = 1, #entries do
    local entry, fields = entries[n][1], entries[n][2]
    local ours = #fields == 4 and fields[1] == 'j' and fields[3] == 'd' and fields[2] ~= ''
    flat[3 * n - 2], flat[3 * n - 1], flat[3 * n] = entry, ours and fields[2] or '', ours and fields[4] or fields
  end
  return flat
end
