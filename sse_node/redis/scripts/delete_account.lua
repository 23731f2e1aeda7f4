-- Delete an account with its history and publish that, in one atomic step; answers 1 and its version, nil
-- when there is none, false and its version when that is not the one expected. The last account of a user
-- takes the snapshots along, so that nothing is left of a user who has nothing.
-- KEYS[1] log  KEYS[2] the account  KEYS[3] its user's account index  KEYS[4] its user's snapshots
-- KEYS[5] its history
-- ARGV[1] log bounds  ARGV[2] not after  ARGV[3] expected versions
local late = given_up(ARGV[2]) or superseded(KEYS[1])
if late then
  return late
end
local found = redis.call('HMGET', KEYS[2], 'id', 'userId')
if not found[1] then
  return nil
end
local version = version_of(KEYS[5])
if not is_expected(ARGV[3], version) then
  return {false, version}
end
redis.call('DEL', KEYS[2], KEYS[5])
redis.call('ZREM', KEYS[3], found[1])
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('DEL', KEYS[4])
end
publish(KEYS[1], ARGV[1], 'user-events',
        '{"userId":' .. found[2] .. ',"eventType":"account.deleted","data":{"accountId":'
        .. found[1] .. '}}')
return {1, version}
