-- Record an attempt to send the message at the head of a claimed webhook's queue.
-- Answers as next_message does, after a success that goes on; else nil.
-- KEYS[1] the webhook  KEYS[2] its messages  KEYS[3] webhooks that are due  KEYS[4] the state of all
-- KEYS[5] its deliveries  KEYS[6] its dead letters
-- ARGV[1] its id  ARGV[2] the claim  ARGV[3] how long the next claim lasts, in ms; 0: no next one
-- ARGV[4] delivered, retry, dead, gone, postponed (the host fails) or busy  ARGV[5] after how many ms to go on
-- ARGV[6] the delivery as JSON, empty for none  ARGV[7] deliveries kept
-- ARGV[8] the beginning of a dead letter: its message and "}" follow  ARGV[9] limits of queues
if redis.call('ZSCORE', KEYS[3], ARGV[1]) ~= ARGV[2] or redis.call('EXISTS', KEYS[1]) == 0 then
  return nil  -- somebody else sends the message again, or nobody
end
set_queue_limits(ARGV[9])
local outcome = ARGV[4]
if ARGV[6] ~= '' then
  redis.call('LPUSH', KEYS[5], ARGV[6])
  redis.call('LTRIM', KEYS[5], 0, ARGV[7] - 1)
end
if outcome == 'gone' then
  redis.call('HSET', KEYS[1], 'enabled', '0', 'disabled_reason', 'gone')
  remove_all(KEYS[1], KEYS[2], KEYS[4])
  redis.call('HDEL', KEYS[1], 'missed_from', 'missed_until', 'missed')
elseif outcome == 'delivered' then
  take_first(KEYS[1], KEYS[2], KEYS[4])
elseif outcome == 'dead' then
  bury(KEYS[1], KEYS[6], ARGV[8] .. take_first(KEYS[1], KEYS[2], KEYS[4]) .. '}')
elseif outcome == 'retry' then
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
end
if redis.call('HGET', KEYS[1], 'enabled') ~= '1' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return nil
end
if outcome == 'retry' or outcome == 'postponed' then
  redis.call('HSETNX', KEYS[1], 'failing_since', string.format('%.0f', math.floor(now_ms())))
end
if ARGV[3] ~= '0' then
  return next_message(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
end
redis.call('ZADD', KEYS[3], string.format('%.0f', math.floor(now_ms()) + ARGV[5]), ARGV[1])
