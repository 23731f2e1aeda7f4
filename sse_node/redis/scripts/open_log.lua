-- Give the log a name and its first entry when it has none, so that every position is an entry's id
-- and an id that the log holds proves that nothing after it is missing. Answers the id of the last
-- entry and the log's name.
-- KEYS[1]  the log
local name = name_of(KEYS[1])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return {last and last[1] or redis.call('XADD', KEYS[1], '*', 'mark', 'start', 'payload', '{}'), name}
