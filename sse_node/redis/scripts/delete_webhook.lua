-- Delete a webhook with all that waits for it; answers 1, 0 when there is none.
-- KEYS[1] the webhook  KEYS[2] its user's webhooks  KEYS[3] all webhooks  KEYS[4] webhooks that are due
-- KEYS[5] the state of all  KEYS[6] its messages  KEYS[7] its dead letters  KEYS[8] its deliveries
-- ARGV[1] not after  ARGV[2] its id
local late = given_up(ARGV[1])
if late then
  return late
end
remove_all(KEYS[1], KEYS[6], KEYS[5])
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[4], ARGV[2])
return redis.call('DEL', KEYS[1], KEYS[7], KEYS[8]) > 0 and 1 or 0
