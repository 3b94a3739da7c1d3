-- Counting, for enqueue, fire, settle, tick and cancel: who arrived, how attempts ended, by handler and by tenant.
-- Slots, kinds and bounds are those of _core/tally.py. Two hashes, all of it bounded. The counters, since ever:
--   a, d, l and the handler: how many arrived, met a duplicate, were dropped by a limit; s and the handler: slots
--   {slot -> number}, packed.
-- The ten minutes: the same with the minute's digit behind the letter; T and the tenant: slots; '#': how many tenants.
-- What cannot be counted (a key of another type) is left out: no counter ever stops a job.
local KEPT_MS, SETTLED, TENANTS = 90600000, 300, 100 -- 25 hours and ten minutes; most fields

local function added(sums, changes)
  for slot, by in pairs(changes) do sums[slot] = (tonumber(sums[slot]) or 0) + by end
  return sums
end

local function slots_of(raw)
  local ok, slots = pcall(cmsgpack.unpack, raw or '')
  return ok and type(slots) == 'table' and slots or {}
end

-- Adds changes {who -> {slot -> by}} to packed fields. Who is new beyond `room(key)` goes to 'other', in `changes`,
-- too. Returns how many fields are new.
local function add_slots(key, letter, changes, room)
  local who, fields = {}, {}
  for one in pairs(changes) do who[#who + 1], fields[#fields + 1] = one, letter .. one end
  local found = redis.pcall('HMGET', key, letter .. 'other', unpack(fields))
  if found.err then return 0 end
  local raw, fresh, left, set = {other = found[1]}, 0, nil, {}
  for n, one in ipairs(who) do
    raw[one] = found[n + 1]
    if not raw[one] then
      left = left or (room and room(key) or 1000)
      if left <= 0 and one ~= 'other' then
        changes.other, changes[one] = added(changes.other or {}, changes[one]), nil
      else
        fresh = fresh + 1
      end
      left = left - 1
    end
  end
  for one, by in pairs(changes) do
    set[#set + 1] = letter .. one
    set[#set + 1] = cmsgpack.pack(added(slots_of(raw[one]), by))
  end
  redis.call('HSET', key, unpack(set))
  return fresh
end

local function names_left(key)
  return SETTLED - redis.call('HLEN', key)
end
local function tenants_left(key)
  return TENANTS - (tonumber(redis.call('HGET', key, '#')) or 0)
end

-- Adds what a batch amounts to: {handler -> slots} and {tenant -> slots}, in minute `digit` of `minutes`.
local function tally(counters, minutes, digit, handlers, tenants)
  local fresh = 0
  if next(handlers) then
    add_slots(counters, 's', handlers, names_left)
    fresh = add_slots(minutes, 's' .. digit, handlers)
  end
  if next(tenants) then
    local more = add_slots(minutes, 'T', tenants, tenants_left)
    if more > 0 then redis.call('HINCRBY', minutes, '#', more) end
    fresh = fresh + more
  end
  if fresh > 0 then redis.call('PEXPIRE', minutes, KEPT_MS) end
end

-- Handler and tenant of an envelope. cmsgpack cannot read bytes, which arguments may hold: then the name that stands
-- first, and no tenant.
local function whose(body)
  local ok, e = pcall(cmsgpack.unpack, body)
  if ok and type(e) == 'table' then return e.n, e.tn end
  local head, size = string.byte(string.match(tostring(body), '^[\128-\143]\161n(..)') or '', 1, 2)
  if head == 217 then return string.sub(body, 6, 5 + size) end
  if head and head >= 160 and head < 192 then return string.sub(body, 5, head - 156) end
end

-- Notes something rare in {handlers, tenants}, by what the envelope says; `body`: it, or the fields of its entry.
local STALLED, CANCELLED = 10, 8
local function note(into, body, slot)
  if type(body) == 'table' then
    local fields = body
    for n = 1, #fields - 1, 2 do body = fields[n] == 'd' and fields[n + 1] or body end
  end
  local name, tenant = whose(body)
  name = type(name) == 'string' and name ~= '' and name or 'other'
  into[1][name] = added(into[1][name] or {}, {[slot] = 1})
  if type(tenant) == 'string' and tenant ~= '' then
    into[2][tenant] = added(into[2][tenant] or {}, {[slot] = 1})
  end
  return into
end
