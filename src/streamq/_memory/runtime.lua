-- How scripts are loaded, and what they may not do. Run once by lua.py.
-- Arguments: given(table): what scripts find besides Lua: redis, cmsgpack, struct, KEYS and ARGV.
-- Returns: load(source): a chunk, or nil and why not; spread(table): err, ok, its length to the first nil and that many
--   values (at most 4,000); set(keys, argv): for the next call.
local given = ...
local env = {_G = false, string = string, table = table, math = math}
for _, name in ipairs({
  'assert', 'error', 'getmetatable', 'ipairs', 'next', 'pairs', 'pcall', 'rawequal', 'rawget', 'rawset', 'select',
  'setmetatable', 'tonumber', 'tostring', 'type', 'unpack', 'xpcall',
}) do env[name] = _G[name] end
for name, value in pairs(given) do env[name] = value end

-- As in Redis, scripts can neither make globals nor ask for unknown ones.
setmetatable(env, {
  __index = function(_, name)
    error('Script attempted to access nonexistent global variable \'' .. tostring(name) .. '\'', 2)
  end,
  __newindex = function() error('Attempt to modify a readonly table', 2) end,
})

local function load(source)
  local chunk, problem = loadstring(source, '@user_script')
  if chunk then setfenv(chunk, env) end
  return chunk, problem
end

local function spread(t)
  local n = 0
  while t[n + 1] ~= nil do n = n + 1 end
  return t.err, t.ok, n, unpack(t, 1, math.min(n, 4000))
end

local function set(keys, argv) env.KEYS, env.ARGV = keys, argv end

return load, spread, set
