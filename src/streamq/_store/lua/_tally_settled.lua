-- Counting, for settle: the worker has summed up its batch; what was not applied is taken out again.

-- Counters of a kind of settlement, and the slot of the histogram of its run (_core/tally.py).
local KINDS = {{2}, {3, 4}, {3, 7}, {7}, {5}, {6}, {8}, {9}}
local RUNS, WAIT = {40, 64, 64, 0, 88, 88, 112, 0}, 16

local function bucket_of(us)
  local n, power = 0, 1000
  while n < 21 and us > power * (n % 3 == 0 and 1 or n % 3 == 1 and 2 or 5) do
    n = n + 1
    if n % 3 == 0 then power = power * 10 end
  end
  return n
end

local function less(sums, who, kind, wait, run)
  local slots = sums[who]
  local function take(slot, by)
    local left = (slots[slot] or 0) - by
    slots[slot] = left ~= 0 and left or nil
  end
  for _, slot in ipairs(KINDS[kind]) do take(slot, 1) end
  for base, us in pairs({[WAIT] = wait, [RUNS[kind]] = run}) do
    if base > 0 and us >= 0 then
      take(base, us)
      take(base + 1 + bucket_of(us), 1)
    end
  end
  if not next(slots) then sums[who] = nil end
end

-- `said`: [minute, {handler -> slots}, {tenant -> slots}]; `parts`: [handlers, tenants, and five columns: the handler
-- of each item and its tenant (0: none), kind, wait and run in us]; a column is a list, or one number for all items.
-- `answers`: a letter for each item.
local function tally_settled(counters, minutes, said, parts, answers)
  if said == '' then return end
  local t = cmsgpack.unpack(said)
  if string.find(answers, '[^a]') then
    local p = cmsgpack.unpack(parts)
    local function of(n, column) return type(p[column]) == 'table' and p[column][n] or p[column] end
    for n = 1, #answers do
      local handler, tenant = of(n, 3), of(n, 4)
      if handler > 0 and string.sub(answers, n, n) ~= 'a' then
        less(t[2], p[1][handler], of(n, 5), of(n, 6), of(n, 7))
        if tenant > 0 then less(t[3], p[2][tenant], of(n, 5), of(n, 6), of(n, 7)) end
      end
    end
  end
  tally(counters, minutes, t[1], t[2], t[3])
end
