-- Take webhooks that are due, for a while: the time at which they are due again is the claim.
-- Answers the ids and the claims: id, claim; id, claim; …
-- KEYS[1] webhooks that are due
-- ARGV[1] the most  ARGV[2] how long, in ms
local now = math.floor(now_ms())
local claim = string.format('%.0f', now + ARGV[2])
local answer = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], claim, id)
  answer[#answer + 1] = id
  answer[#answer + 1] = claim
end
return answer
