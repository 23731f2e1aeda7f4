-- Delete an account and publish that, in one atomic step; answers 1, or 0 when there is none.
-- KEYS[1] log  KEYS[2] the account  ARGV[1] log length  ARGV[2] prefix of account indexes
local found = redis.call('HMGET', KEYS[2], 'id', 'userId')
if not found[1] then
  return 0
end
redis.call('DEL', KEYS[2])
redis.call('ZREM', ARGV[2] .. string.sub(found[2], 2, -2), found[1])
publish(KEYS[1], ARGV[1], 'user-events',
        '{"userId":' .. found[2] .. ',"eventType":"account.deleted","data":{"accountId":'
        .. found[1] .. '}}')
return 1
