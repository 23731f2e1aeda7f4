-- The consumer group `webhooks` reads the log for all webhooks. The field `position` of their state is the last entry
-- that is done, or the end of the log when the group was first created.

-- Create the group unless it exists: where it was, if it or the log has been deleted; else at the end of the log.
local function create_group(log, state)
  name_of(log)  -- before the other group
  local position, last = redis.call('HGET', state, 'position'), last_of(log)[1]
  if position and last ~= '0-0' and is_after(position, last) then
    redis.call('HSETNX', state, 'gap_from', '0-0')  -- the ids of this log began anew: all of them are read
    redis.call('HSET', state, 'gap_until', position)
    position = '0-0'
  end
  local created = redis.pcall('XGROUP', 'CREATE', log, 'webhooks', position or last)
  if created.err and not string.find(created.err, 'BUSYGROUP', 1, true) then
    error(created.err)
  end
  if not created.err and not position and last ~= '0-0' then
    redis.call('HSET', state, 'position', last)
  end
end
