-- Webhooks. A webhook is a hash; its messages wait in a list, the oldest first. A message is JSON:
-- {"id":…,"eventType":…,"data":…}. What found no room in the list is a gap: the fields missed_from and missed_until
-- (ids of events: what is missing is not outside them) and missed (how many; 0: unknown).
-- The gap becomes a message of its own, so that the receiver hears of it in its place.

-- The largest lists of all: messages and bytes of one webhook, bytes of all together.
local max_messages, max_bytes, max_total_bytes

local function set_queue_limits(limits)
  max_messages, max_bytes, max_total_bytes = string.match(limits, '^(%d+):(%d+):(%d+)$')
  max_messages, max_bytes, max_total_bytes =
      tonumber(max_messages), tonumber(max_bytes), tonumber(max_total_bytes)
end

local function number_of(key, field)
  return tonumber(redis.call('HGET', key, field) or 0)
end

local function append(webhook, queue, state, message)
  redis.call('RPUSH', queue, message)
  redis.call('HINCRBY', webhook, 'queue_bytes', #message)
  redis.call('HINCRBY', state, 'bytes', #message)
end

-- Remove the first message and what is known of its attempts; returns the message.
local function take_first(webhook, queue, state)
  local message = redis.call('LPOP', queue)
  redis.call('HDEL', webhook, 'attempts', 'failing_since')
  if message then
    redis.call('HINCRBY', webhook, 'queue_bytes', -#message)
    redis.call('HINCRBY', state, 'bytes', -#message)
  end
  return message
end

local function remove_all(webhook, queue, state)
  redis.call('HINCRBY', state, 'bytes', 0 - number_of(webhook, 'queue_bytes'))  -- -0 is no integer
  redis.call('HDEL', webhook, 'queue_bytes', 'attempts', 'failing_since')
  redis.call('DEL', queue)
end

-- Turn a gap into a message.
local function end_gap(webhook, queue, state)
  local gap = redis.call('HMGET', webhook, 'missed_from', 'missed_until', 'missed')
  if gap[2] then
    redis.call('HDEL', webhook, 'missed_from', 'missed_until', 'missed')
    local count = tonumber(gap[3]) > 0 and gap[3] or 'null'
    append(webhook, queue, state,
           '{"id":"' .. gap[2] .. '-gap","eventType":"webhook.gap","data":{"from":"' .. gap[1]
           .. '","until":"' .. gap[2] .. '","count":' .. count .. '}}')
  end
end

-- Extend a webhook's gap to an event, or begin one; count is how many events that adds, 0 when unknown.
local function miss(webhook, from, id, count)
  local gap = redis.call('HMGET', webhook, 'missed_until', 'missed')
  if not gap[1] then
    redis.call('HSET', webhook, 'missed_from', from, 'missed', count)
  elseif count == 0 or gap[2] == '0' then
    redis.call('HSET', webhook, 'missed', 0)
  else
    redis.call('HINCRBY', webhook, 'missed', count)
  end
  redis.call('HSET', webhook, 'missed_until', id)
  redis.call('HINCRBY', webhook, 'missed_in_all', math.max(1, count))
end

-- How many messages a list has (0 is true in Lua), if one more fits in by number, bytes and the bytes of all;
-- else false.
-- A gap ends when half of the list is free again.
local function fits(queue, gap, queue_bytes, all_bytes, message)
  local share, length = gap and 2 or 1, redis.call('LLEN', queue)
  return length < max_messages / share
      and (tonumber(queue_bytes or 0) + #message) * share <= max_bytes
      and all_bytes + #message <= max_total_bytes
      and length
end

local function has_room(webhook, queue, state, message)
  local known = redis.call('HMGET', webhook, 'missed_until', 'queue_bytes')
  return fits(queue, known[1], known[2], number_of(state, 'bytes'), message)
end

-- Let a webhook be looked at, unless that is planned already. Returns 1, or 0 when it was planned.
local function plan(due, id)
  return redis.call('ZADD', due, 'NX', string.format('%.0f', math.floor(now_ms())), id)
end

-- Let a webhook be looked at now, instead of after a failure; one that is being looked at goes on.
local function plan_now(due, webhook, id)
  local planned = redis.call('ZSCORE', due, id)
  if not planned or planned ~= redis.call('HGET', webhook, 'claim') then
    redis.call('ZADD', due, string.format('%.0f', math.floor(now_ms())), id)
  end
end

-- As next_message.lua says.
local function next_message(webhook, queue, due, state, id, claim, lease_ms)
  if redis.call('ZSCORE', due, id) ~= claim then
    return nil
  end
  if redis.call('HGET', webhook, 'enabled') ~= '1' then
    redis.call('ZREM', due, id)
    return nil
  end
  local message = redis.call('LINDEX', queue, 0)
  if not message then
    end_gap(webhook, queue, state)
    message = redis.call('LINDEX', queue, 0)
  end
  if not message then
    redis.call('ZREM', due, id)
    return nil
  end
  claim = string.format('%.0f', math.floor(now_ms()) + lease_ms)
  redis.call('ZADD', due, claim, id)
  redis.call('HSET', webhook, 'claim', claim)
  local fields = redis.call('HMGET', webhook, 'user', 'url', 'secret', 'old_secret', 'old_until', 'attempts',
                            'failing_since')
  return {claim, message, fields}
end

-- Keep a message that was not delivered; the oldest ones make room.
local function bury(webhook, dead_letters, letter)
  while redis.call('LLEN', dead_letters) > 0 and (redis.call('LLEN', dead_letters) >= max_messages
      or number_of(webhook, 'dead_bytes') + #letter > max_bytes) do
    redis.call('HINCRBY', webhook, 'dead_bytes', -#redis.call('LPOP', dead_letters))
    redis.call('HINCRBY', webhook, 'dropped_dead_letters', 1)
  end
  redis.call('RPUSH', dead_letters, letter)
  redis.call('HINCRBY', webhook, 'dead_bytes', #letter)
end
