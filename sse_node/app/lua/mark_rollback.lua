-- Say in the log that events before here may have been lost, unless another node has just done it.
-- Answers the id of the mark; an id below it proves nothing.
-- KEYS[1]  the log
-- KEYS[2]  where the id of the newest mark is kept (sse:rollback)
-- ARGV[1]  the mark that this node has found there, empty for none
local mark = redis.call('GET', KEYS[2]) or ''
if mark ~= ARGV[1] then
  return mark
end
mark = redis.call('XADD', KEYS[1], next_id(KEYS[1], KEYS[2]), 'channel', 'sse:rollback',
                  'payload', '{}')
redis.call('SET', KEYS[2], mark)
return mark
