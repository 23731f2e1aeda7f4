-- Queue a message for one webhook, and try the one at the head of its queue now.
-- Answers 1; nil when there is no such webhook; 0 when it is disabled or full.
-- KEYS[1] the webhook  KEYS[2] webhooks that are due  KEYS[3] the state of all  KEYS[4] its messages
-- ARGV[1] not after  ARGV[2] limits of queues  ARGV[3] its id  ARGV[4] the message
local late = given_up(ARGV[1])
if late then
  return late
end
set_queue_limits(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return nil
end
if redis.call('HGET', KEYS[1], 'enabled') ~= '1' or not has_room(KEYS[1], KEYS[4], KEYS[3], ARGV[4]) then
  return 0
end
end_gap(KEYS[1], KEYS[4], KEYS[3])
append(KEYS[1], KEYS[4], KEYS[3], ARGV[4])
plan_now(KEYS[2], KEYS[1], ARGV[3])
return 1
