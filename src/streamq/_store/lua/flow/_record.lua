-- Flow control: what a job carries in its index row.
-- The record of a job stands in its index row, behind '|':
--   [line, gates, cost, ordered, batch, expires ms, seq, stalls, taken at ms, since ms, on limit, on conflict, free,
--   takes, lane]; batch is false or [size, wait ms, quiet ms, max delay ms]; on limit w(ait) d(rop) b(ury); on conflict
--   q(ueue) d(rop) c(ancel running); free: taken without gates, so it has nothing to give back.
local R_LINE, R_GATES, R_COST, R_ORDERED, R_BATCH, R_EXPIRES, R_SEQ, R_STALLS, R_TAKEN, R_SINCE, R_LIMIT, R_CONFLICT,
  R_FREE, R_TAKES, R_LANE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15

local function record_of(row)
  if not row then return nil end
  local place = string.sub(row, 1, 1)
  -- The name under which a job is parked is anybody's text; it ends with a NUL.
  local bar = string.find(row, '|', place == 'p' and string.find(row, '%z') or 1, true)
  local r = bar and cmsgpack.unpack(string.sub(row, bar + 1))
  -- A claim raises the take in the token only.
  if r and place == 't' then r[R_TAKES] = tonumber(string.match(row, ':(%d+)')) end
  return r
end
local function with_record(place, r) return place .. '|' .. cmsgpack.pack(r) end

local function line_name(r) return r[R_LINE] ~= '' and r[R_LINE] or table.concat(r[R_GATES], '>') end

-- The gate whose taken places are a conflict: that of the job's key, else that of its handler; nil when it has neither.
local function conflict_gate(r)
  local found
  for _, name in ipairs(r[R_GATES]) do
    if string.sub(name, 1, 2) == 'k.' or (not found and string.sub(name, 1, 2) == 'h.') then found = name end
  end
  return found
end
flow.record_of, flow.with_record, flow.line_name = record_of, with_record, line_name
