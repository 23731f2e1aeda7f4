-- KEYS[1…] webhooks; answers for each its URL, and since when it has been failing (Unix ms)
local answer = {}
for i, key in ipairs(KEYS) do
  answer[i] = redis.call('HMGET', key, 'url', 'failing_since')
end
return answer
