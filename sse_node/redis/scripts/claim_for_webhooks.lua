-- Take over entries of the log that another process has read for webhooks and not finished. What the log no
-- longer has of them is a gap, kept in the state of all until it is recorded in every webhook. So is what came
-- before them, when the log no longer has the last entry that is done: the other process may have found that gap
-- without recording it.
-- Answers the entries, and the gap: from and until.
-- KEYS[1] log  KEYS[2] the state of all
-- ARGV[1] the consumer  ARGV[2] after how many ms  ARGV[3] the most entries
local entries, lost, cursor = {}, {}, '0-0'
repeat
  local reply = redis.pcall('XAUTOCLAIM', KEYS[1], 'webhooks', ARGV[1], ARGV[2], cursor, 'COUNT', ARGV[3])
  if reply.err then  -- NOGROUP: nothing has been read
    return string.find(reply.err, 'NOGROUP', 1, true) and {{}, {false, false}} or reply
  end
  cursor = reply[1]
  for _, id in ipairs(reply[3] or {}) do
    lost[#lost + 1] = id
  end
  for _, entry in ipairs(reply[2]) do
    if entry and entry[2] then
      entries[#entries + 1] = entry
    elseif entry then
      lost[#lost + 1] = entry[1]
      redis.call('XACK', KEYS[1], 'webhooks', entry[1])
    end
  end
until entries[1] or cursor == '0-0'
local from, first = lost[1], lost[1] or entries[1] and entries[1][1]
local position = redis.call('HGET', KEYS[2], 'position')
if position and first and not redis.call('XRANGE', KEYS[1], position, position)[1] then
  from = position
end
if from then
  local gap_until = lost[#lost] or first
  redis.call('HSETNX', KEYS[2], 'gap_from', from)
  redis.call('HSET', KEYS[2], 'gap_until', gap_until, 'position', gap_until)  -- which is told once
end
return {entries, redis.call('HMGET', KEYS[2], 'gap_from', 'gap_until')}
