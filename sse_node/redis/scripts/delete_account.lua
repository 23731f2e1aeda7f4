-- Delete an account and publish that, in one atomic step; answers 1, or 0 when there is none.
-- KEYS[1] log  KEYS[2] the account  KEYS[3] its user's account index
-- ARGV[1] log bounds  ARGV[2] not after
local late = given_up(ARGV[2])
if late then
  return late
end
local found = redis.call('HMGET', KEYS[2], 'id', 'userId')
if not found[1] then
  return 0
end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], found[1])
publish(KEYS[1], ARGV[1], 'user-events',
        '{"userId":' .. found[2] .. ',"eventType":"account.deleted","data":{"accountId":'
        .. found[1] .. '}}')
return 1
