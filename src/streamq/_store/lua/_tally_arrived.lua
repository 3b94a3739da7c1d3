-- Counting, for enqueue and fire: jobs that arrived, or were refused for what they are (duplicates, closed limits).
local ARRIVING = 200 -- most fields
local LETTERS, SLOTS = {exists = 'd', met = 'd', limited = 'l', conflict = 'l'}, {a = 1, d = 11, l = 12}

-- Counts jobs of one handler: two commands.
local function count_jobs(counters, minutes, digit, letter, name, by)
  local total = redis.pcall('HINCRBY', counters, letter .. name, by)
  if total == by and redis.call('HLEN', counters) > ARRIVING then
    redis.call('HDEL', counters, letter .. name)
    name = 'other'
    redis.call('HINCRBY', counters, letter .. name, by)
  end
  if redis.pcall('HINCRBY', minutes, letter .. digit .. name, by) == by then redis.call('PEXPIRE', minutes, KEPT_MS) end
end

-- Of several handlers or with tenants: [minute, handlers, number of each job's handler, tenants, the same].
local function tally_mixed(counters, minutes, said, jobs, letters)
  local t = cmsgpack.unpack(said)
  local sums, tenants = {a = {}, d = {}, l = {}}, {}
  for n = 1, jobs do
    local letter = letters[n] or 'a'
    local handler, tenant = t[2][t[3][n]], t[4][t[5][n]]
    if handler and sums[letter] then sums[letter][handler] = (sums[letter][handler] or 0) + 1 end
    if tenant and SLOTS[letter] then
      tenants[tenant] = added(tenants[tenant] or {}, {[SLOTS[letter]] = 1})
    end
  end
  for letter, handlers in pairs(sums) do
    for handler, by in pairs(handlers) do count_jobs(counters, minutes, t[1], letter, handler, by) end
  end
  tally(counters, minutes, t[1], {}, tenants)
end

-- `said`: '' to count nothing; a digit, the minute, and the handler of all jobs; or '\0' and a map of them.
-- `refusals`: 'position:reason:...' each.
local function tally_arrived(counters, minutes, said, jobs, refusals)
  if said == '' then return end
  local letters, sums, rest = {}, {a = jobs}, string.sub(said, 2)
  for _, one in ipairs(refusals) do
    local at, reason = string.match(one, '^(%d+):(%a+)')
    local letter = LETTERS[reason] or '-'
    letters[tonumber(at)] = letter
    sums[letter], sums.a = (sums[letter] or 0) + 1, sums.a - 1
  end
  local minute = string.sub(said, 1, 1)
  if minute == '\0' then return tally_mixed(counters, minutes, rest, jobs, letters) end
  for letter, by in pairs(sums) do
    if by > 0 and letter ~= '-' then count_jobs(counters, minutes, minute, letter, rest, by) end
  end
end
