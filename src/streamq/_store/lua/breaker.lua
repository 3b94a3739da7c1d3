-- breaker: a circuit breaker counts the failures of all workers, opens, lets one probe through at a time, and closes.
-- KEYS: 1 meta hash; 2 index hash; 3 breakers hash; 4.. keys of flow control
-- ARGV: 1 protocol; 2 control channel; 3 who; 4 what: 'look' (reads only), 'failed' or 'succeeded' (the job of 7),
--   'open' or 'close' (by hand); 5 name; 6 tag of this call; 7 job id ('' none); 8 failures that open it; 9 within ms;
--   10 ms it stays open; 11 most ms it stays open; 12 why; 13 rule, by which workers send jobs to its gate
-- Reply: {now ms, what changed ('opened', 'shut' again, 'closed', ''), 1 open or 0, 1 the job is a probe or 0, ms at
--   which the next probe may begin, failures counted, changed at ms, who, why, failed probes, jobs that hold its gate,
--   jobs waiting for it}. Errors: SQVERSION. Replay: the tag of the last change changes nothing more and gets the same
--   word; a failure is counted once by its tag.
-- While it is open its gate cb.<name> lets one job through at a time, and none until the ms of the next probe; a rule
-- sends jobs there that do not know of it. A probe is a job that passed the gate since: only what becomes of a probe is
-- news, for all other jobs began before the breaker opened.
-- A field: open, at (changed ms), till (next probe ms), set (when that was set, ms), failed (probes), who, why, tag and
-- word of the last change, log (of failures while it is closed: ms, tag, by turns).
local meta, breakers, who, what, name, tag = KEYS[1], KEYS[3], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(4, meta, m[3])
local K, gate_name = flow.keys, 'cb.' .. name
expect('h', KEYS[2], 'h', K.rules, 'h', K.layers)
local raw = redis.call('HGET', breakers, name)
local b = raw and cmsgpack.unpack(raw) or {at = 0, till = 0, failed = 0, who = '', why = '', tag = '', log = {}}
-- Somebody may have cleared the limits of its gate: then it holds nothing, and is closed.
local was_open = b.open and redis.call('HEXISTS', K.rules, gate_name) == 1
-- The server's clock went back: it stays open no longer than it was to.
local g = flow.gate(gate_name)
if b.set and b.set > now then
  flow.rate_wait(g, 1)
  b.till, b.set = math.min(b.till, g.shut), now
end
local is_probe = false
local row = was_open and ARGV[7] ~= '' and redis.call('HGET', KEYS[2], ARGV[7])
local held = row and string.sub(row, 1, 1) == 't' and flow.record_of(row)
if held and held[R_TAKEN] >= b.till then
  for _, one in ipairs(held[R_GATES]) do is_probe = is_probe or one == gate_name end
end
local log, is_told = {}, false -- the failures that still count
for n = 1, #b.log, 2 do
  local at = math.min(b.log[n], now) -- the server's clock may have gone back
  if at > now - ARGV[9] then
    log[#log + 1], log[#log + 2] = at, b.log[n + 1]
    is_told = is_told or b.log[n + 1] == tag
  end
end

local word = ''
local is_known = tag ~= '' and b.tag == tag
if is_known then
  word = b.word
elseif what == 'open' then
  word = was_open and 'shut' or 'opened'
elseif what == 'close' or (what == 'succeeded' and is_probe) then
  word = b.open and 'closed' or ''
  log = {}
elseif what == 'failed' and was_open then
  word = is_probe and 'shut' or ''
elseif what == 'failed' then
  if not is_told then log[#log + 1], log[#log + 2] = now, tag end
  word = #log / 2 >= tonumber(ARGV[8]) and 'opened' or ''
end
local failures = #log / 2

local function set_open()
  local conf = {c = 1, why = ARGV[12]}
  redis.call('HSET', K.layers, 'o ' .. gate_name, cmsgpack.pack({conf = conf, by = who, at = now}))
  redis.call('HSET', K.config, gate_name, cmsgpack.pack(conf))
  redis.call('HSET', K.rules, gate_name, ARGV[13])
end
local function set_closed()
  redis.call('HDEL', K.layers, 'o ' .. gate_name)
  redis.call('HDEL', K.config, gate_name)
  redis.call('HDEL', K.rules, gate_name)
end
if word ~= '' and not is_known then
  b.tag, b.word = tag, word
  if what == 'failed' and word == 'shut' then
    b.failed = b.failed + 1
  else
    b.open, b.at, b.failed, b.who, b.why, log = word ~= 'closed', now, 0, who, ARGV[12], {}
    if b.open then set_open() else set_closed() end
    flow.forget_config(gate_name)
  end
  b.till = now + (b.open and math.min(ARGV[10] * 2 ^ b.failed, math.max(ARGV[10], ARGV[11])) or 0)
  b.set, g.shut, g.shut_at = now, b.till, now
  flow.nudge(g) -- opened, it wakes the first who waits; shut, it sets the alarm
  local ready = flow.save()
  if word ~= 'shut' then redis.call('SPUBLISH', ARGV[2], 'rules ' .. redis.call('HINCRBY', meta, 'flow', 1)) end
  if ready and not m[2] then ring(K.bell) end
  was_open = b.open
end
if what ~= 'look' and not is_known and (raw or word ~= '' or failures > 0) then
  b.log = log
  redis.call('HSET', breakers, name, cmsgpack.pack(b))
end
return {
  whole(now), word, was_open and 1 or 0, is_probe and 1 or 0, whole(b.till), failures, whole(b.at), b.who, b.why,
  b.failed, g.used, g.waiting,
}
