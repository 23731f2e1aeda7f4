-- KEYS[1…] the webhooks of users; answers for each its ids and event types: id, types; id, types; …
local answer = {}
for i, key in ipairs(KEYS) do
  answer[i] = redis.call('HGETALL', key)
end
return answer
