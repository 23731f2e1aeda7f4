-- Whether an id comes after another one.
local function is_after(id, other)
  local ms, number = string.match(id, '^(%d+)-(%d+)$')
  local other_ms, other_number = string.match(other or '0-0', '^(%d+)-(%d+)$')
  if ms ~= other_ms then
    return #ms > #other_ms or (#ms == #other_ms and ms > other_ms)
  end
  return #number > #other_number or (#number == #other_number and number > other_number)
end
