-- limit: changes what gates let through, live: declared by code, set or cleared by people, shut for a time, blocked.
-- KEYS: 1 meta hash; 2.. keys of flow control
-- ARGV: 1 protocol; 2 control channel; 3 who; 4 what; then by what:
--   'declare': digest; map (msgpack) gate or class -> configuration or false (in code, but unlimited)
--   'set': gate or class; map of options (msgpack; false takes one away); rule ('' none)
--   'clear': gate or class
--   'shut': gate; ms from now, 0 to open it
-- Reply: {changed (0 or 1), epoch of the rules, configuration declared before (msgpack) or ''}. Errors: SQVERSION, and
--   SQLIMITS when there are 10,000 overrides already. Replay: changes nothing more, but a shut counts from now again.
-- A configuration in force is the declared one under the override; both are kept, with who and when.
local meta, channel, who, what = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local m = redis.call('HMGET', meta, PROTOCOL_FIELD, 'paused', 'fv', 'flow')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(2, meta, m[3])
local K = flow.keys
expect('h', K.rules, 'h', K.layers)
local raw = redis.call('HGET', K.layers, 'declared')
local declared = raw and cmsgpack.unpack(raw) or {digest = '', by = '', at = 0, gates = {}}
local changed, answer = false, ''
if what == 'declare' then
  if declared.digest ~= ARGV[5] then
    answer = raw or ''
    local said = cmsgpack.unpack(ARGV[6])
    local touched = {}
    for name, conf in pairs(said) do
      declared.gates[name] = conf or nil
      touched[#touched + 1] = name
    end
    declared.digest, declared.by, declared.at = ARGV[5], who, now
    redis.call('HSET', K.layers, 'declared', cmsgpack.pack(declared))
    for _, name in ipairs(touched) do changed = in_force(name, declared) or changed end
  end
elseif what == 'set' then
  local name, options, rule = ARGV[5], cmsgpack.unpack(ARGV[6]), ARGV[7]
  local over = override(name)
  if not over and redis.call('HLEN', K.layers) > 10000 then return redis.error_reply('SQLIMITS 10000') end
  over = over or {conf = {}}
  for option, value in pairs(options) do over.conf[option] = value or nil end
  over.by, over.at = who, now
  local empty = true
  for _ in pairs(over.conf) do empty = false end
  if empty then
    redis.call('HDEL', K.layers, 'o ' .. name)
  else
    redis.call('HSET', K.layers, 'o ' .. name, cmsgpack.pack(over))
  end
  if rule ~= '' and not empty then redis.call('HSET', K.rules, name, rule) end
  if empty then redis.call('HDEL', K.rules, name) end
  changed = in_force(name, declared)
elseif what == 'clear' then
  local rule = redis.call('HDEL', K.rules, ARGV[5])
  local gone = redis.call('HDEL', K.layers, 'o ' .. ARGV[5])
  in_force(ARGV[5], declared)
  changed = rule + gone > 0
elseif what == 'shut' then
  local g, ms = flow.gate(ARGV[5]), tonumber(ARGV[6])
  g.shut, g.shut_at = ms > 0 and math.max(g.shut, now + ms) or 0, now
  flow.nudge(g)
  changed = true
end
local ready = flow.save()
local epoch = m[4] or '0'
local limited = redis.call('HLEN', K.config) > 0
if changed and what ~= 'shut' then
  -- From its first limit on a queue is handed out by take.
  epoch = tostring(redis.call('HINCRBY', meta, 'flow', 1))
  redis.call('SPUBLISH', channel, 'rules ' .. epoch)
elseif not m[4] and limited then
  epoch = tostring(redis.call('HINCRBY', meta, 'flow', 1))
end
if (ready or changed) and not m[2] then ring(K.bell) end
return {changed and 1 or 0, epoch, answer}
