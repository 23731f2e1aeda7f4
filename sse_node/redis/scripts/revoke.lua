-- Revoke a user or a token until a time, and tell every node.
-- KEYS[1]  the revocations, a sorted set of names by the Unix time in seconds at which they end
-- ARGV[1]  the present Unix time in seconds; records that end before it are removed
-- ARGV[2]  the time at which the revocation ends; one that is past removes the record
-- ARGV[3]  the name: user:ID or jti:ID
-- ARGV[4]  the channel, which has the name of the key without its prefix
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
tell(string.sub(KEYS[1], 1, -(#ARGV[4] + 1)), ARGV[4], ARGV[2] .. ' ' .. ARGV[3])
