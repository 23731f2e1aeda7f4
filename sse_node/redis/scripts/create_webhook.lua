-- Create a webhook in one atomic step; answers its JSON, 0 when its user has too many.
-- It gets what is published from now on: the group that reads the log for webhooks is created with it.
-- KEYS[1] log  KEYS[2] the webhook  KEYS[3] its user's webhooks  KEYS[4] all webhooks
-- KEYS[5] the state of all  KEYS[6] optional: the record of an idempotency key
-- ARGV[1] not after  ARGV[2] idempotency record's life in ms  ARGV[3] the content, for that record
-- ARGV[4] the answer  ARGV[5] the most webhooks of a user  ARGV[6] its id  ARGV[7] event types as JSON
-- ARGV[8…] field, value; field, value; …
local idempotency = KEYS[6] or ''
local answer = given_up(ARGV[1]) or first_answer(idempotency, ARGV[3])
if answer then
  return answer
end
if redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[5]) then
  return 0
end
create_group(KEYS[1], KEYS[5])
redis.call('HSET', KEYS[2], 'created_after', last_of(KEYS[1])[1], unpack(ARGV, 8))
redis.call('HSET', KEYS[3], ARGV[6], ARGV[7])
redis.call('ZADD', KEYS[4], string.format('%.0f', math.floor(now_ms())), ARGV[6])
return remember_answer(idempotency, ARGV[3], ARGV[4], ARGV[2])
