-- Let claimed webhooks be due later, because their hosts take no message now. A webhook whose claim is another's, or
-- whose queue is empty, stays as it is.
-- Answers the ids of those that were postponed.
-- KEYS[1] webhooks that are due  KEYS[2…] a webhook, its messages; the next one; …
-- ARGV[1…] a webhook's id, the claim, after how many ms it is due, postponed (the host fails) or busy; the next one; …
local now, answer = math.floor(now_ms()), {}
for i = 2, #KEYS, 2 do
  local id, claim, after_ms, outcome = unpack(ARGV, 2 * i - 3, 2 * i)
  if redis.call('ZSCORE', KEYS[1], id) == claim and redis.call('LLEN', KEYS[i + 1]) > 0 then
    if outcome == 'postponed' then
      redis.call('HSETNX', KEYS[i], 'failing_since', string.format('%.0f', now))
    end
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + after_ms), id)
    answer[#answer + 1] = id
  end
end
return answer
