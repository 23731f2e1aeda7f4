-- Give the log its first entry when it has none, so that every position is an entry's id and an
-- id that the log holds proves that nothing after it is missing. Answers the id of the last entry.
-- KEYS[1]  the log
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if last[1] then
  return last[1][1]
end
return redis.call('XADD', KEYS[1], '*', 'channel', 'sse:start', 'payload', '{}')
