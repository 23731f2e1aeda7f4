-- Put dead letters back behind the messages of their webhook, the oldest first, while there is room.
-- Answers how many; nil when there is no such webhook.
-- KEYS[1] the webhook  KEYS[2] webhooks that are due  KEYS[3] the state of all  KEYS[4] its messages
-- KEYS[5] its dead letters
-- ARGV[1] not after  ARGV[2] limits of queues  ARGV[3] its id  ARGV[4] the id of a message, empty for all
local late = given_up(ARGV[1])
if late then
  return late
end
set_queue_limits(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return nil
end
local replayed = 0
for _, letter in ipairs(redis.call('LRANGE', KEYS[5], 0, -1)) do
  local message = string.match(letter, ',"message":(.*)}$')
  if ARGV[4] == '' or string.find(message, '{"id":"' .. ARGV[4] .. '"', 1, true) == 1 then
    if not has_room(KEYS[1], KEYS[4], KEYS[3], message) then
      break
    end
    redis.call('LREM', KEYS[5], 1, letter)
    redis.call('HINCRBY', KEYS[1], 'dead_bytes', -#letter)
    append(KEYS[1], KEYS[4], KEYS[3], message)
    replayed = replayed + 1
  end
end
if replayed > 0 and redis.call('HGET', KEYS[1], 'enabled') == '1' then
  plan(KEYS[2], ARGV[3])
end
return replayed
