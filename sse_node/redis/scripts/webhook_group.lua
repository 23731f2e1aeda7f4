-- The consumer group `webhooks` reads the log for all webhooks. The field `position` of their state is the last entry
-- that is done, the end of a gap, or the end of the log when the group was first created.

-- Create the group unless it exists: where it was, if it or the log has been deleted; else at the end of the log.
local function create_group(log, state)
  name_of(log)  -- before the other group
  local position, last = redis.call('HGET', state, 'position'), last_of(log)[1]
  local began_anew = position and last ~= '0-0' and is_after(position, last)  -- the ids: all entries are read
  local created = redis.pcall('XGROUP', 'CREATE', log, 'webhooks', began_anew and '0-0' or position or last)
  if created.err then
    return string.find(created.err, 'BUSYGROUP', 1, true) or error(created.err)
  end
  if began_anew then
    redis.call('HSETNX', state, 'gap_from', '0-0')
    redis.call('HSET', state, 'gap_until', position)
  elseif not position and last ~= '0-0' then
    redis.call('HSET', state, 'position', last)
  end
end
