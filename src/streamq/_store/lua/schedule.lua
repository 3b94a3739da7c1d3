-- schedule: writes, pauses, resumes or removes a schedule. Its last tick is kept for ever: no tick fires twice.
-- KEYS: 1 meta hash; 2 specs hash; 3 states hash; 4 ticks zset
-- ARGV: 1 protocol; 2 control channel; 3 what: 'declare' (by code at its start), 'restore' (the same, if nothing is
--   known of it), 'upsert', 'pause', 'resume', 'remove'; 4 id; 5 version (16 hex digits, the first 8 of its ticks
--   alone); 6 spec
-- Reply: 'new', 'changed', 'same', 'removed' (it is, and stays so), 'unknown'. State: 'status version last count since
--   past': on, paused or removed; last tick ms; ticks fired; ms since when ticks are owed; versions it had before.
-- Replay: answers 'same' or does the same again.
local specs, states, ticks = KEYS[2], KEYS[3], KEYS[4]
local what, id, version = ARGV[3], ARGV[4], ARGV[5]
local found = redis.call('HGET', KEYS[1], PROTOCOL_FIELD)
local refused = wrong_protocol(found, ARGV[1])
if refused then return refused end
local state = redis.call('HGET', states, id)
local status, current, last, count, since, past
if state then
  status, current, last, count, since, past = string.match(state, '(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
end
expect('h', specs, 'z', ticks)
local now = whole(now_ms())

-- A tick at 0 asks the next scheduler to look: only Python knows when the next one is.
local function store(new_status, new_version)
  redis.call('HSET', states, id, table.concat({new_status, new_version, last, count, since, past}, ' '))
  if new_status == 'removed' then
    redis.call('ZREM', ticks, id)
  else
    redis.call('ZADD', ticks, new_status == 'on' and '0' or '+inf', id)
  end
  redis.call('SPUBLISH', ARGV[2], 'schedules')
end

local function write()
  if not found then redis.call('HSET', KEYS[1], PROTOCOL_FIELD, ARGV[1]) end
  redis.call('HSET', specs, id, ARGV[6])
  if not state then
    last, count, since, past = '0', '0', now, '-'
    store('on', version)
    return 'new'
  end
  if status == 'removed' then count, since = '0', now end
  if string.sub(current, 1, 8) ~= string.sub(version, 1, 8) then since = now end
  -- Bounded: of so many deploys ago no process is left.
  if current ~= version then past = string.sub(current .. ',' .. past, 1, 340) end
  store(status == 'paused' and 'paused' or 'on', version)
  return 'changed'
end

if what == 'declare' or what == 'restore' or what == 'upsert' then
  if state and what == 'restore' then return status == 'removed' and 'removed' or 'same' end
  if status == 'removed' and what == 'declare' and (current == version or string.find(past, version, 1, true)) then
    return 'removed'
  end
  if status and status ~= 'removed' and current == version then return 'same' end
  return write()
end
if not state then return 'unknown' end
if status == 'removed' then return 'removed' end
if what == 'remove' then
  redis.call('HDEL', specs, id)
  store('removed', current)
  return 'changed'
end
local wanted = what == 'pause' and 'paused' or 'on'
if status == wanted then return 'same' end
-- What came due while it was paused is not owed.
if wanted == 'on' then since = now end
store(wanted, current)
return 'changed'
