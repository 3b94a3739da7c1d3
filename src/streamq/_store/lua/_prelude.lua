-- Shared by every verb: prepended to each script when it is loaded (scripts.py).
-- Batches are cut by the client to 500 items, so that no unpack here exceeds 1,000 values.
local PROTOCOL_FIELD = 'v'

-- A local is found sooner than a global, and these are looked for several times a job.
local KEYS, ARGV, redis = KEYS, ARGV, redis

-- Set by flow/_gates.lua in the builds of a verb that know of lines; nil in the plain ones.
local flow

-- What now_ms cuts off: 1 while a millisecond is under way, 0 at its very start.
local under_way = 1
local function now_ms()
  local t = redis.call('TIME')
  under_way = t[2] % 1000 > 0 and 1 or 0
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Refuses a queue kept under another protocol; marks a new one. Reads before any write of the caller.
local function wrong_protocol(found, ours)
  if found and found ~= ours then return redis.error_reply('SQVERSION ' .. found) end
end

-- At most one token: wakes one idle worker, which rings on if it leaves something.
local function ring(bell)
  if redis.call('LLEN', bell) == 0 then redis.call('LPUSH', bell, '1') end
end

-- '+ms' from now, '@ms' absolute, to ms on the server's clock.
local function due_ms(when, now)
  local ms = tonumber(string.sub(when, 2))
  if string.sub(when, 1, 1) == '@' then return ms end
  -- `now` is cut to whole ms: without the started one a delay would end up to a millisecond early.
  return ms > 0 and now + ms + under_way or now
end

-- Lanes and taken stream by the letter a token begins with. (KEYS[3 + '2'] makes a number of the digit every time.)
local function streams(l0, l1, l2, l3, l4, taken)
  return {['0'] = l0, ['1'] = l1, ['2'] = l2, ['3'] = l3, ['4'] = l4, t = taken}
end

-- Makes the group of the taken stream. If it was lost, what is in the stream waits with the pseudo-consumer ~ for the
-- next fetch: nobody else reads that stream.
local function make_taken_group(meta, taken)
  redis.call('XGROUP', 'CREATE', taken, 'w', '0', 'MKSTREAM')
  while true do
    local got = redis.call('XREADGROUP', 'GROUP', 'w', '~', 'COUNT', 1000, 'STREAMS', taken, '>')
    if not got then return end
    redis.call('HINCRBY', meta, 'released', #got[1][2])
  end
end

-- Reads before any write: a key of a wrong type fails here. Takes a kind (h hash, l list, s stream, z zset) and a key,
-- by turns.
local SIZE = {h = 'HLEN', l = 'LLEN', s = 'XLEN', z = 'ZCARD'}
local function expect(...)
  local given = {...}
  for n = 1, #given, 2 do redis.call(SIZE[given[n]], given[n + 1]) end
end

-- The envelope of an entry, '' when it has none.
local function body_of(key, entry)
  local found = redis.call('XRANGE', key, entry, entry)
  local fields = found[1] and found[1][2] or {}
  for n = 1, #fields - 1, 2 do
    if fields[n] == 'd' then return fields[n + 1] end
  end
  return ''
end

local function whole(ms) return string.format('%.0f', ms) end

-- What a batch was answered, when it is the last one its sender sent; an error for one from before it.
local function remembered(memo, seq)
  local known = redis.call('GET', memo)
  if not known then return nil end
  local bar = string.find(known, '|', 1, true)
  local last = tonumber(string.sub(known, 1, bar - 1))
  if last == tonumber(seq) then return string.sub(known, bar + 1) end
  if last > tonumber(seq) then return redis.error_reply('SQSTALE ' .. last) end
end
