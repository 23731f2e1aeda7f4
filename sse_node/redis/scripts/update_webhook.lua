-- Change a webhook; answers 1, nil when there is none.
-- One that is enabled again gets what is published from now on.
-- KEYS[1] the webhook  KEYS[2] its user's webhooks  KEYS[3] webhooks that are due  KEYS[4] log
-- ARGV[1] not after  ARGV[2] its id  ARGV[3] event types as JSON, empty for no change
-- ARGV[4] a new secret, empty for none  ARGV[5] until when the present one is good, too, in Unix ms
-- ARGV[6] 1: attempts begin again now; 0: they stop; empty for no change  ARGV[7…] field, value; …
local late = given_up(ARGV[1])
if late then
  return late
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  return nil
end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'events', ARGV[3])
  redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
end
if ARGV[4] ~= '' and ARGV[4] ~= redis.call('HGET', KEYS[1], 'secret') then
  redis.call('HSET', KEYS[1], 'old_secret', redis.call('HGET', KEYS[1], 'secret'), 'old_until', ARGV[5],
             'secret', ARGV[4])
end
local was_enabled = redis.call('HGET', KEYS[1], 'enabled') == '1'
if #ARGV > 6 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 7))
end
if ARGV[6] == '0' then
  redis.call('ZREM', KEYS[3], ARGV[2])
elseif ARGV[6] == '1' then
  if not was_enabled then
    redis.call('HSET', KEYS[1], 'created_after', last_of(KEYS[4])[1])
  end
  redis.call('HDEL', KEYS[1], 'attempts', 'failing_since', 'disabled_reason')
  plan_now(KEYS[3], KEYS[1], ARGV[2])
end
return 1
