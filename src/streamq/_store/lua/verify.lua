-- verify: the facts of some things, each told in one moment, so that a busy queue can be looked at page by page.
-- KEYS: 1 meta hash; 2 index hash; 3-7 lane streams; 8 taken stream; 9 delayed zset; 10 parked zset; 11 dead stream;
--   12 dead index hash; 13 waiters hash; 14 workers hash; 15 beats zset; 16 window list; 17 window hash; 18 deaths
--   hash; then the keys of flow control; then strings, one per thing that needs one (its record, or itself), in order
-- ARGV: 1 protocol; 2 ms after which a silent worker counts as gone; 3.. things (100 at most): a letter, and what it
--   says in flow/_facts.lua, flow/_things.lua, flow/_books.lua
-- Reply: {{digest, facts ...}, ...}. Errors: SQVERSION. Replay: reads only.
-- Bounded: a few look-ups a thing; of 's' a page of 100 entries.
local m = redis.call('HMGET', KEYS[1], PROTOCOL_FIELD, 'fv')
local refused = wrong_protocol(m[1], ARGV[1])
if refused then return refused end
flow.open(19, KEYS[1], m[2])
local next_key, reply = 19 + flow.KEYS, {}
for n = 3, #ARGV do
  local key
  if NEEDS_KEY[string.sub(ARGV[n], 1, 1)] then
    key, next_key = KEYS[next_key], next_key + 1
  end
  local digest, found = look_at(ARGV[n], key)
  table.insert(found, 1, digest)
  reply[#reply + 1] = found
end
return reply
