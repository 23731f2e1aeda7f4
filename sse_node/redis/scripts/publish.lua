-- Publish events: append each to the log and publish it, all or none. A volatile event is only published,
-- in its place among the others. Other keys and channels than the node's are rejected.
-- KEYS[1]  the log (sse:log, or NAMESPACE:sse:log; shardN{TAG}:sse:log where there are several)
-- KEYS[2]  optional: the record of an idempotency key (sse:idempotency:<name>, prefixed alike; nodes take
--          a digest of the route, the caller and the key as its name)
-- ARGV[1]  LENGTH or LENGTH:BYTES: how many entries the log keeps, and how many bytes of payloads, about;
--          without BYTES 1 GiB, 0 for no bound in bytes
-- ARGV[2]  Unix time in milliseconds by Redis' clock after which nothing is done; 0 for none
-- ARGV[3]  how long the idempotency record is kept, in milliseconds
-- ARGV[4…] channel, payload; channel, payload; … (channels without a prefix; "volatile CHANNEL" for an
--          event that is not appended)
-- Answers the ids of the events, separated by spaces; - for a volatile one.
local record = KEYS[2] or ''
local content = record ~= '' and table.concat(ARGV, '\n', 4)
local answer = given_up(ARGV[2]) or first_answer(record, content)
if answer then
  return answer
end
if not string.match(KEYS[1], 'sse:log$') then
  return redis.error_reply('ERR KEYS[1] is ' .. KEYS[1] .. '; expected the key of an event log, sse:log')
end
if #ARGV % 2 == 0 then
  return redis.error_reply('ERR there are ' .. #ARGV .. ' arguments; expected a payload for each channel')
end
if record ~= '' and not string.match(ARGV[3], '^%d+$') then  -- or the record would stay for ever
  return redis.error_reply('ERR ARGV[3] is ' .. ARGV[3] .. '; expected milliseconds')
end
local function plain_name(channel)
  local is_volatile = string.sub(channel, 1, 9) == 'volatile '
  return is_volatile and string.sub(channel, 10) or channel, is_volatile
end
for i = 4, #ARGV, 2 do
  local channel = plain_name(ARGV[i])
  if channel ~= 'user-events' and (channel == '' or #channel > 255 or string.match(channel, '[^!-~]')
      or string.match(channel, '[,"\\]') or string.match(channel, '^sse:probe:')
      or channel == 'sse:revocations') then
    return redis.error_reply('ERR the channel ' .. channel .. ' is not one of an event')
  end
end
local refusal = superseded(KEYS[1])
if refusal then
  return refusal
end
local ids = {}
for i = 4, #ARGV, 2 do
  local channel, is_volatile = plain_name(ARGV[i])
  if is_volatile then
    tell(string.sub(KEYS[1], 1, -(#'sse:log' + 1)), channel, ARGV[i + 1])
    ids[#ids + 1] = '-'
  else
    ids[#ids + 1] = publish(KEYS[1], ARGV[1], channel, ARGV[i + 1])
  end
end
return remember_answer(record, content, table.concat(ids, ' '), ARGV[3])
