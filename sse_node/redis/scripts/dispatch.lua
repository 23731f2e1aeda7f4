-- Put messages of a batch of entries into the queues of webhooks, and acknowledge the entries that are done.
-- Batches are taken in the order of the log: one that comes too early waits.
-- Answers how many webhooks have become due; -1 when earlier entries are pending; -2 when another process has taken
-- the batch over.
-- KEYS[1] log  KEYS[2] webhooks that are due  KEYS[3] the state of all
-- KEYS[4…] a webhook, its messages; the next one; …
-- ARGV[1] not after  ARGV[2] limits of queues  ARGV[3] the id of the batch's first pending entry
-- ARGV[4] how many entries are done with this  ARGV[5] how many messages
-- ARGV[6…] the ids of the entries that are done; then for each message: the event's id, the message; then for
-- each webhook of a message: its place in KEYS, its id, the number of the message
local late = given_up(ARGV[1])
if late then
  return late
end
set_queue_limits(ARGV[2])
local entries, messages = tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('XPENDING', KEYS[1], 'webhooks')[2] ~= ARGV[3] then
  return redis.call('XPENDING', KEYS[1], 'webhooks', ARGV[3], ARGV[3], 1)[1] and -1 or -2
end
local state_bytes, added_bytes, became_due = number_of(KEYS[3], 'bytes'), 0, 0
for i = 6 + entries + 2 * messages, #ARGV, 3 do
  local place, id, number = tonumber(ARGV[i]), ARGV[i + 1], tonumber(ARGV[i + 2])
  local event, message = ARGV[4 + entries + 2 * number], ARGV[5 + entries + 2 * number]
  local webhook, queue = KEYS[place], KEYS[place + 1]
  local known = redis.call('HMGET', webhook, 'enabled', 'created_after', 'missed_until', 'queue_bytes')
  if known[1] == '1' and is_after(event, known[2]) then
    local length = fits(queue, known[3], known[4], state_bytes + added_bytes, message)
    if length then
      if known[3] then
        end_gap(webhook, queue, KEYS[3])
        state_bytes = number_of(KEYS[3], 'bytes')
      end
      redis.call('RPUSH', queue, message)
      redis.call('HINCRBY', webhook, 'queue_bytes', #message)
      added_bytes = added_bytes + #message
    else
      miss(webhook, event, event, 1)
    end
    if not length or length == 0 then  -- else it is planned, as every webhook with messages is
      became_due = became_due + plan(KEYS[2], id)
    end
  end
end
if added_bytes > 0 then
  redis.call('HINCRBY', KEYS[3], 'bytes', added_bytes)
end
if entries > 0 then  -- at most 500
  redis.call('XACK', KEYS[1], 'webhooks', unpack(ARGV, 6, 5 + entries))
  redis.call('HSET', KEYS[3], 'position', ARGV[5 + entries])
end
return became_due
