-- Delete an account and publish that, in one atomic step; answers 1, or 0 when there is none. The last
-- account of a user takes the snapshots along, so that nothing is left of a user who has nothing.
-- KEYS[1] log  KEYS[2] the account  KEYS[3] its user's account index  KEYS[4] its user's snapshots
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
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('DEL', KEYS[4])
end
publish(KEYS[1], ARGV[1], 'user-events',
        '{"userId":' .. found[2] .. ',"eventType":"account.deleted","data":{"accountId":'
        .. found[1] .. '}}')
return 1
