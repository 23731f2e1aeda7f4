-- Ask through the write path whether the node would hear of an event: writes, and publishes to the
-- node alone. Answers whether the log holds the node's position, and the id of the log's last entry
-- (nothing when the log is empty).
-- KEYS[1]  the log
-- KEYS[2]  the node's probe key
-- ARGV[1]  what is published: the probe's number and its sender
-- ARGV[2]  the node's probe channel, without a prefix
-- ARGV[3]  the node's position
redis.call('SET', KEYS[2], ARGV[1], 'PX', 60000)
tell(string.sub(KEYS[1], 1, -(#'sse:log' + 1)), ARGV[2], ARGV[1])
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local holds = #redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])
return {holds, last[1] and last[1][1]}
