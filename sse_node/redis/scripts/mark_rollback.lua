-- Say in the log that events before here may have been lost, unless another node has just done it.
-- Answers the mark: its number, which also rises when the ids of the log do not, and the id of its
-- entry. An id below that proves nothing.
-- KEYS[1]  the log
-- KEYS[2]  where the newest mark is kept (sse:rollback)
-- ARGV[1]  the number of the mark that this node has found there, 0 for none
-- ARGV[2]  the highest number that this node knows of
local mark = redis.call('GET', KEYS[2]) or '0 0-0'
if string.match(mark, '^%d+') ~= ARGV[1] then
  return mark
end
local id = redis.call('XADD', KEYS[1], next_id(last_of(KEYS[1])[1], KEYS[2]),
                      'mark', 'rollback', 'payload', '{}')
mark = string.format('%d %s', math.max(ARGV[1], ARGV[2]) + 1, id)
redis.call('SET', KEYS[2], mark)
return mark
