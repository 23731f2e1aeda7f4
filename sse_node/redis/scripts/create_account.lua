-- Create an account, its snapshot job and its event in one atomic step; answers its JSON.
-- KEYS[1] log  KEYS[2] the account  KEYS[3] the user's account index  KEYS[4] snapshot jobs
-- KEYS[5] optional: the record of an idempotency key
-- ARGV[1] log bounds  ARGV[2] not after  ARGV[3] idempotency record's life in ms
-- ARGV[4] the account's id  ARGV[5] the user  ARGV[6] createdAt as JSON
-- ARGV[7] name as JSON  ARGV[8] balance as JSON
local record = KEYS[5] or ''
local content = ARGV[5] .. '\n' .. ARGV[7] .. '\n' .. ARGV[8]
local answer = given_up(ARGV[2]) or first_answer(record, content)
if answer then
  return answer
end
local id = ARGV[4]
redis.call('HSET', KEYS[2], 'id', id, 'name', ARGV[7], 'balance', ARGV[8],
           'userId', '"' .. ARGV[5] .. '"', 'createdAt', ARGV[6])
redis.call('ZADD', KEYS[3], id, id)
local account = account_json(KEYS[2])
publish(KEYS[1], ARGV[1], 'user-events',
        '{"userId":"' .. ARGV[5] .. '","eventType":"account.created","data":{"accountId":' .. id
        .. ',"account":' .. account .. '}}')
redis.call('XADD', KEYS[4], '*', 'job', 'snapshots.generate', 'userId', ARGV[5],
           'account', account)
return remember_answer(record, content, account, ARGV[3])
