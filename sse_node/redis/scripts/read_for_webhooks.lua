-- Read the next entries of the log for webhooks. When the log no longer has the entry that was read last, what
-- followed it may be lost, too: that gap is kept in the state of all until it is recorded in every webhook.
-- Answers the id that was read last before, the entries, and the gap: from and until.
-- KEYS[1] log  KEYS[2] the state of all
-- ARGV[1] the consumer  ARGV[2] the most entries
name_of(KEYS[1])  -- before the other group
local last
for _ = 1, 2 do
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == 'webhooks' then
      for i = 1, #group, 2 do
        last = group[i] == 'last-delivered-id' and group[i + 1] or last
      end
    end
  end
  if last then
    break
  end
  redis.call('XGROUP', 'CREATE', KEYS[1], 'webhooks', '$')
end
local read = redis.call('XREADGROUP', 'GROUP', 'webhooks', ARGV[1], 'COUNT', ARGV[2], 'STREAMS', KEYS[1], '>')
local entries = read and read[1] and read[1][2] or {}
if entries[1] and last ~= '0-0' and not redis.call('XRANGE', KEYS[1], last, last)[1] then
  redis.call('HSETNX', KEYS[2], 'gap_from', last)
  redis.call('HSET', KEYS[2], 'gap_until', entries[1][1])
end
return {last, entries, redis.call('HMGET', KEYS[2], 'gap_from', 'gap_until')}
