-- Let the consumer group of webhooks begin at the end of the log, when there is none. When webhooks had events of
-- this log before, somebody has deleted it or the group: what was not read by then may be lost, and is a gap.
-- KEYS[1] log  KEYS[2] the state of all
name_of(KEYS[1])  -- before the other group
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == 'webhooks' then
    return
  end
end
redis.call('XGROUP', 'CREATE', KEYS[1], 'webhooks', '$')
local position, last = redis.call('HGET', KEYS[2], 'position'), last_of(KEYS[1])[1]
if position and last ~= position then
  redis.call('HSETNX', KEYS[2], 'gap_from', position)
  redis.call('HSET', KEYS[2], 'gap_until', last ~= '0-0' and last or string.format('%.0f-0', math.floor(now_ms())))
end
