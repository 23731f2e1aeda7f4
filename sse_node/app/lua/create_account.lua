-- Create an account, its snapshot job and its event in one atomic step; answers its JSON.
-- KEYS[1] log  KEYS[2] account counter  KEYS[3] the user's account index  KEYS[4] snapshot jobs
-- KEYS[5] optional: the record of an idempotency key
-- ARGV[1] log length  ARGV[2] idempotency record's life in ms  ARGV[3] prefix of account keys
-- ARGV[4] the user  ARGV[5] createdAt as JSON  ARGV[6] name as JSON  ARGV[7] balance as JSON
local record = KEYS[5] or ''
local content = ARGV[4] .. '\n' .. ARGV[6] .. '\n' .. ARGV[7]
local answer = first_answer(record, content)
if answer then
  return answer
end
local id = redis.call('INCR', KEYS[2])
local key = ARGV[3] .. id
redis.call('HSET', key, 'id', id, 'name', ARGV[6], 'balance', ARGV[7],
           'userId', '"' .. ARGV[4] .. '"', 'createdAt', ARGV[5])
redis.call('ZADD', KEYS[3], id, id)
local account = account_json(key)
publish(KEYS[1], ARGV[1], 'user-events',
        '{"userId":"' .. ARGV[4] .. '","eventType":"account.created","data":{"accountId":' .. id
        .. ',"account":' .. account .. '}}')
redis.call('XADD', KEYS[4], '*', 'job', 'snapshots.generate', 'userId', ARGV[4],
           'account', account)
return remember_answer(record, content, account, ARGV[2])
