-- cmsgpack.unpack as the server has it. Run once by lua.py.
-- Arguments: undouble(bytes): the number in 4 or 8 bytes.
-- Returns: unpack(text), of one value.
local undouble = ...
local byte, sub = string.byte, string.sub
local unpack_value

local function unsigned(s, at, size)
  if at + size - 1 > #s then error('Missing bytes in input.', 0) end
  local n = 0
  for n_at = at, at + size - 1 do n = n * 256 + byte(s, n_at) end
  return n, at + size
end

local function signed(s, at, size)
  if size == 8 then
    local high = signed(s, at, 4)
    return high * 2 ^ 32 + unsigned(s, at + 4, 4), at + 8
  end
  local n = unsigned(s, at, size)
  return n >= 2 ^ (8 * size - 1) and n - 2 ^ (8 * size) or n, at + size
end

local function text(s, at, size)
  if at + size - 1 > #s then error('Missing bytes in input.', 0) end
  return sub(s, at, at + size - 1), at + size
end

local function array(s, at, count)
  local t = {}
  for n = 1, count do t[n], at = unpack_value(s, at) end
  return t, at
end

local function map(s, at, count)
  local t, key, value = {}, nil, nil
  for _ = 1, count do
    key, at = unpack_value(s, at)
    value, at = unpack_value(s, at)
    t[key] = value
  end
  return t, at
end

local function sized(read, size)
  return function(s, at)
    local n, from = unsigned(s, at, size)
    return read(s, from, n)
  end
end
local function fixed(read, size)
  return function(s, at) return read(s, at, size) end
end
local function float(size)
  return function(s, at)
    local raw, after = text(s, at, size)
    return undouble(raw), after
  end
end
local READ = {
  [0xc0] = function(_, at) return nil, at end,
  [0xc2] = function(_, at) return false, at end,
  [0xc3] = function(_, at) return true, at end,
  [0xc4] = sized(text, 1), [0xc5] = sized(text, 2), [0xc6] = sized(text, 4), [0xca] = float(4), [0xcb] = float(8),
  [0xcc] = fixed(unsigned, 1), [0xcd] = fixed(unsigned, 2), [0xce] = fixed(unsigned, 4), [0xcf] = fixed(unsigned, 8),
  [0xd0] = fixed(signed, 1), [0xd1] = fixed(signed, 2), [0xd2] = fixed(signed, 4), [0xd3] = fixed(signed, 8),
  [0xd9] = sized(text, 1), [0xda] = sized(text, 2), [0xdb] = sized(text, 4), [0xdc] = sized(array, 2),
  [0xdd] = sized(array, 4), [0xde] = sized(map, 2), [0xdf] = sized(map, 4),
}

function unpack_value(s, at)
  local first = byte(s, at)
  if not first then error('Missing bytes in input.', 0) end
  if first < 0x80 then return first, at + 1 end
  if first < 0x90 then return map(s, at + 1, first - 0x80) end
  if first < 0xa0 then return array(s, at + 1, first - 0x90) end
  if first < 0xc0 then return text(s, at + 1, first - 0xa0) end
  if first >= 0xe0 then return first - 256, at + 1 end
  if not READ[first] then error('Bad data format in input.', 0) end
  return READ[first](s, at + 1)
end

return function(s)
  local value, after = unpack_value(s, 1)
  if after <= #s then error('streamq memory broker: several values in one text', 0) end
  return value
end
