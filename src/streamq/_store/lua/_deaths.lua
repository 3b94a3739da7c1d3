-- What dead letters died of, for the verbs that add or take away letters: each counts under a label, which its entry
-- holds, too (field g). The hash: label -> cmsgpack {letters, ms of the first and of the newest, id of the newest}.
-- Clients make labels (_core/fingerprint.py); a new one beyond the thousandth counts as OTHER. Prepended by scripts.py.
-- While they are counted anew (recount.lua) the field '#' says up to which entry that is done: what lies behind it is
-- not counted yet, whatever happens to it.
local MOST_LABELS, OTHER = 1000, 'other'

-- The label that an entry with these fields counts under.
local function label_of(fields)
  for n = 1, #fields - 1, 2 do
    if fields[n] == 'g' and #fields[n + 1] > 1 then return fields[n + 1] end
  end
  return OTHER
end

local function is_behind(entry, other)
  local ms, n = string.match(entry, '(%d+)%-(%d+)')
  local other_ms, other_n = string.match(other, '(%d+)%-(%d+)')
  if ms ~= other_ms then return tonumber(ms) > tonumber(other_ms) end
  return tonumber(n) > tonumber(other_n)
end

-- The books of one call: `add` and `take` note, `save` writes once. A hash of another type is left as it is: a verb
-- that can refuse it expects it before it writes.
local function deaths(key)
  local size, known, changed, books = redis.pcall('HLEN', key), {}, {}, {}
  local is_broken = type(size) == 'table'
  local till = not is_broken and redis.call('HGET', key, '#')
  local function find(label)
    if known[label] == nil and not is_broken then
      local ok, one = pcall(cmsgpack.unpack, redis.call('HGET', key, label))
      ok = ok and type(one) == 'table' and type(one[1]) == 'number' and type(one[2]) == 'number'
      known[label] = ok and type(one[3]) == 'number' and one
    end
    return known[label]
  end
  -- The label under which one more counts.
  function books.label(wanted)
    return (is_broken or find(wanted) or size < MOST_LABELS) and wanted or OTHER
  end
  function books.add(label, id, entry)
    if is_broken or (till and is_behind(entry, till)) then return end
    local one, ms = find(label), tonumber(string.match(entry, '^%d+'))
    if not one then
      one, size = {0, ms, ms, id}, size + 1
      known[label] = one
    end
    one[1], one[2] = one[1] + 1, math.min(one[2], ms)
    if ms >= one[3] then one[3], one[4] = ms, id end
    changed[label] = one
  end
  function books.take(label, entry)
    local one = not (till and is_behind(entry, till)) and find(label)
    if not one then return end
    one[1] = one[1] - 1
    changed[label] = one
  end
  function books.save()
    local rows, gone = {}, {}
    for label, one in pairs(changed) do
      if one[1] > 0 then
        rows[#rows + 1], rows[#rows + 2] = label, cmsgpack.pack(one)
      else
        gone[#gone + 1] = label
      end
    end
    if #rows > 0 then redis.call('HSET', key, unpack(rows)) end
    if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  end
  return books
end

-- From here on nothing is counted until recount.lua was there. The type of the hash was looked at.
local function forget_counts(key)
  redis.call('DEL', key)
  redis.call('HSET', key, '#', '0-0')
end

-- One letter for which no client made a label, as some verbs write now and then: it counts under its reason.
local function add_letter(dead, dead_index, died_of, id, body, reason, ...)
  local books = deaths(died_of)
  local label = books.label('?\0' .. reason .. '\0')
  local entry = redis.call('XADD', dead, '*', 'j', id, 'd', body, 'r', reason, 'g', label, ...)
  redis.call('HSET', dead_index, id, entry)
  books.add(label, id, entry)
  books.save()
end
