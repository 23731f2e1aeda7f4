-- Change an account and publish what changed, in one atomic step; answers its JSON, false when
-- there is none.
-- KEYS[1] log  KEYS[2] the account
-- ARGV[1] log bounds  ARGV[2] not after  ARGV[3] the changes as a JSON object
-- ARGV[4…] field, JSON; field, JSON; …
local late = given_up(ARGV[2])
if late then
  return late
end
local before = redis.call('HMGET', KEYS[2], 'id', 'balance', 'userId')
if not before[1] then
  return nil
end
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
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
return account_json(KEYS[2])
