-- Take over entries of the log that another process has read for webhooks and not finished. What the log no
-- longer has of them is a gap, kept in the state of all until it is recorded in every webhook. So is what was lost
-- before them, when the log no longer has the last entry that is done: the other process may not have recorded it.
-- Answers the entries, and the gap: from and until.
-- KEYS[1] log  KEYS[2] the state of all
-- ARGV[1] the consumer  ARGV[2] after how many ms  ARGV[3] the most entries
local reply = redis.pcall('XAUTOCLAIM', KEYS[1], 'webhooks', ARGV[1], ARGV[2], '0-0', 'COUNT', ARGV[3])
if reply.err then  -- NOGROUP: nothing has been read
  return string.find(reply.err, 'NOGROUP', 1, true) and {{}, {false, false}} or reply
end
local entries, lost = {}, reply[3] or {}
for _, entry in ipairs(reply[2]) do
  if entry and entry[2] then
    entries[#entries + 1] = entry
  elseif entry then
    lost[#lost + 1] = entry[1]
    redis.call('XACK', KEYS[1], 'webhooks', entry[1])
  end
end
local position, first = redis.call('HGET', KEYS[2], 'position'), lost[1] or entries[1] and entries[1][1]
if position and first and not redis.call('XRANGE', KEYS[1], position, position)[1] then
  redis.call('HSETNX', KEYS[2], 'gap_from', position)
  redis.call('HSET', KEYS[2], 'gap_until', first)
end
if lost[1] then
  redis.call('HSETNX', KEYS[2], 'gap_from', lost[1])
  redis.call('HSET', KEYS[2], 'gap_until', lost[#lost])
end
return {entries, redis.call('HMGET', KEYS[2], 'gap_from', 'gap_until')}
