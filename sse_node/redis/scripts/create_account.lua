-- Create an account, its history, its snapshot job and its event in one atomic step; answers its JSON.
-- KEYS[1] log  KEYS[2] the account  KEYS[3] the user's account index  KEYS[4] snapshot jobs
-- KEYS[5] the account's history  KEYS[6] optional: the record of an idempotency key
-- ARGV[1] log bounds  ARGV[2] not after  ARGV[3] idempotency record's life in ms
-- ARGV[4] the account's id  ARGV[5] the user  ARGV[6] createdAt as JSON
-- ARGV[7] name as JSON  ARGV[8] balance as JSON
local idempotency = KEYS[6] or ''
local content = ARGV[5] .. '\n' .. ARGV[7] .. '\n' .. ARGV[8]
local answer = given_up(ARGV[2]) or first_answer(idempotency, content) or superseded(KEYS[1])
if answer then
  return answer
end
local id = ARGV[4]
redis.call('HSET', KEYS[2], 'id', id, 'name', ARGV[7], 'balance', ARGV[8],
           'userId', '"' .. ARGV[5] .. '"', 'createdAt', ARGV[6])
redis.call('ZADD', KEYS[3], id, id)
local account = account_json(KEYS[2])
redis.call('DEL', KEYS[5])  -- what a Redis that has lost the newest id may still have
record(KEYS[5], 'account.created', 'null', account)
publish(KEYS[1], ARGV[1], 'user-events',
        '{"userId":"' .. ARGV[5] .. '","eventType":"account.created","data":{"accountId":' .. id
        .. ',"account":' .. account .. '}}')
redis.call('XADD', KEYS[4], '*', 'job', 'snapshots.generate', 'userId', ARGV[5],
           'account', account)
return remember_answer(idempotency, content, account, ARGV[3])
