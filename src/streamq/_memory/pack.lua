-- cmsgpack.pack as the server has it, to the byte. Run once by lua.py.
-- Arguments: double(n): a number that is not whole, with its letter: in 4 bytes if that loses nothing, else in 8.
-- Returns: pack(value).
local double = ...
local char, floor, concat = string.char, math.floor, table.concat
local pack_value

-- `size` bytes, the first one highest; two's complement for a negative number.
local function whole(letter, n, size)
  local out = {}
  for at = size, 1, -1 do
    out[at] = char(n % 256)
    n = floor(n / 256)
  end
  return (letter and char(letter) or '') .. concat(out)
end

local function pack_number(n)
  if n ~= floor(n) or n < -2 ^ 63 or n >= 2 ^ 63 then return double(n) end
  if n >= 0 then
    if n < 128 then return char(n) end
    if n < 2 ^ 8 then return whole(0xcc, n, 1) end
    if n < 2 ^ 16 then return whole(0xcd, n, 2) end
    if n < 2 ^ 32 then return whole(0xce, n, 4) end
    return whole(0xcf, n, 8)
  end
  if n >= -32 then return char(n + 256) end
  if n >= -2 ^ 7 then return whole(0xd0, n, 1) end
  if n >= -2 ^ 15 then return whole(0xd1, n, 2) end
  if n >= -2 ^ 31 then return whole(0xd2, n, 4) end
  return whole(0xd3, n, 8)
end

-- Head of a text, array or map of `n`: letters of the small one, and of those with 1, 2 and 4 bytes of length.
local function head(n, small, most, one, two, four)
  if n <= most then return char(small + n) end
  if one and n < 2 ^ 8 then return whole(one, n, 1) end
  if n < 2 ^ 16 then return whole(two, n, 2) end
  return whole(four, n, 4)
end

local function is_array(t)
  local most, count = 0, 0
  for key in pairs(t) do
    if type(key) ~= 'number' or key <= 0 or key ~= floor(key) then return false end
    most, count = math.max(most, key), count + 1
  end
  return most == count
end

local function pack_table(t, depth)
  local parts = {}
  if is_array(t) then
    for n = 1, #t do parts[n] = pack_value(t[n], depth + 1) end
    return head(#t, 0x90, 15, nil, 0xdc, 0xdd) .. concat(parts)
  end
  local count = 0
  for key, value in pairs(t) do
    count = count + 1
    parts[2 * count - 1], parts[2 * count] = pack_value(key, depth + 1), pack_value(value, depth + 1)
  end
  return head(count, 0x80, 15, nil, 0xde, 0xdf) .. concat(parts)
end

function pack_value(value, depth)
  local kind = type(value)
  if kind == 'string' then return head(#value, 0xa0, 31, 0xd9, 0xda, 0xdb) .. value end
  if kind == 'number' then return pack_number(value) end
  if kind == 'boolean' then return value and '\195' or '\194' end
  if kind == 'table' and depth < 16 then return pack_table(value, depth) end
  return '\192'
end

return function(value) return pack_value(value, 0) end
