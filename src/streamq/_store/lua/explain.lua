-- explain: why a job waits: its line, its place in it, and what each of its gates says now.
-- KEYS: 1 meta hash; 2 index hash; 3.. keys of flow control
-- ARGV: 1 id; 2 gates to look at besides, each with its own argument
-- Reply: {now ms, row or '', line, state of the line (r p h, '' none), gate it is parked at, jobs ahead of it, jobs in
--   the line, ms until a held line goes on or -1, {gate, why ('open', 'paused', 'slots', 'rate'), ms until it opens,
--   used, waiting, spent, configuration (msgpack)}, ...}. Replay: reads only.
local m = redis.call('HMGET', KEYS[1], 'fv')
flow.open(3, KEYS[1], m[1])
local row = redis.call('HGET', KEYS[2], ARGV[1]) or ''
local r = flow.record_of(row)
local reply = {whole(now), row, '', '', '', 0, 0, -1}
local names = {}
for n = 2, #ARGV do names[#names + 1] = ARGV[n] end
if r then
  for _, name in ipairs(r[2]) do names[#names + 1] = name end
  local l = flow.line(flow.line_name(r))
  reply[3] = flow.line_name(r)
  if l and string.sub(row, 1, 1) == 'f' then
    local head = flow.member(string.sub(row, 2, 2), r[7], ARGV[1])
    local rank, first = redis.call('ZRANK', flow.keys.jobs, head), nil
    first = redis.call('ZRANGE', flow.keys.jobs, l.number, l.number, 'BYSCORE', 'LIMIT', 0, 1)[1]
    local first_rank = first and redis.call('ZRANK', flow.keys.jobs, first)
    local alarm = l.state == 'h' and redis.call('ZSCORE', flow.keys.clock, 'l' .. l.name)
    reply[4], reply[5], reply[6] = l.state, l.gate, rank and first_rank and rank - first_rank or 0
    reply[7] = redis.call('ZCOUNT', flow.keys.jobs, l.number, l.number)
    reply[8] = alarm and math.max(0, tonumber(alarm) - now) or -1
  end
end
for _, name in ipairs(names) do
  local g = flow.gate(name)
  local why, wait = flow.shut(g, r and r[3] or 1)
  reply[#reply + 1] = {name, why or 'open', wait or 0, g.used, g.waiting, flow.spent_now(g), cmsgpack.pack(g.conf)}
end
return reply
