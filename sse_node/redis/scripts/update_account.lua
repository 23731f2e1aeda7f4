-- Change an account, append that to its history and publish it, in one atomic step; answers its JSON and
-- its version, nil when there is none; false and its version when that is not the one expected.
-- KEYS[1] log  KEYS[2] the account  KEYS[3] its history
-- ARGV[1] log bounds  ARGV[2] not after  ARGV[3] the changes as a JSON object
-- ARGV[4] expected versions  ARGV[5…] field, JSON; field, JSON; …
local late = given_up(ARGV[2]) or superseded(KEYS[1])
if late then
  return late
end
local account = account_json(KEYS[2])
if not account then
  return nil
end
local version = version_of(KEYS[3])
if not is_expected(ARGV[4], version) then
  return {false, version}
end
local before = redis.call('HMGET', KEYS[2], 'id', 'balance', 'userId')
for i = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
version = record_change(KEYS[3], account, 'account.updated', ARGV[3])
local function tell(event_type, members)
  publish(KEYS[1], ARGV[1], 'user-events',
          '{"userId":' .. before[3] .. ',"eventType":"' .. event_type .. '","data":{"accountId":'
          .. before[1] .. ',' .. members .. '}}')
end
tell('account.updated', '"changes":' .. ARGV[3])
local balance = redis.call('HGET', KEYS[2], 'balance')
if balance ~= before[2] then
  tell('balance.changed', '"from":' .. before[2] .. ',"to":' .. balance)
end
return {account_json(KEYS[2]), version}
