-- Take no more events for a while: the server is not the master any more, and what it took would be lost. A
-- replica takes none anyway. Answers the id of the last entry, 0-0 without a log.
-- KEYS[1]  the log
-- ARGV[1]  for how long, in milliseconds
local last_id = last_of(KEYS[1])[1]
if last_id ~= '0-0' then
  local until_ms = string.format('%.0f', now_ms() + ARGV[1])
  redis.pcall('XGROUP', 'CREATE', KEYS[1], 'superseded:' .. until_ms, '0')
end
return last_id
