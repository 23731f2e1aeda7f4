-- KEYS[1…] a webhook, its messages, its dead letters; the next one; …
-- Answers for each the fields and values, then the numbers of messages and of dead letters.
local answer = {}
for i = 1, #KEYS, 3 do
  answer[#answer + 1] =
      {redis.call('HGETALL', KEYS[i]), redis.call('LLEN', KEYS[i + 1]), redis.call('LLEN', KEYS[i + 2])}
end
return answer
