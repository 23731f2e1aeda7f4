-- Measure the log without sending its entries: answers how many there are, and how many were ever added
-- (nothing from a server older than Redis 7); false without a log, or the text of a refusal.
-- KEYS[1] the log
local found = redis.pcall('XINFO', 'STREAM', KEYS[1])
if found.err then
  return not string.find(found.err, 'no such key', 1, true) and found.err
end
local figures = {}
for i = 1, #found, 2 do
  figures[found[i]] = found[i + 1]
end
return {figures['length'], figures['entries-added']}
