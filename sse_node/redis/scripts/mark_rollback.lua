-- Say in the log that events before here may have been lost, unless another node that knew of as much has just
-- done it.
-- Answers the mark: its number, which also rises when the ids of the log do not; the id of its entry, below which
-- an id proves nothing; and the highest id that was known of in what is lost.
-- KEYS[1]  the log
-- KEYS[2]  where the newest mark is kept (sse:rollback)
-- ARGV[1]  the number of the mark that this node has found there, 0 for none
-- ARGV[2]  the highest number that this node knows of
-- ARGV[3]  the highest id that this node knows of in what is lost
local mark = redis.call('GET', KEYS[2]) or '0 0-0 0-0'
if string.match(mark, '^%d+') ~= ARGV[1] and not is_after(ARGV[3], string.match(mark, '(%d+%-%d+)$')) then
  return mark
end
local id = redis.call('XADD', KEYS[1], next_id(last_of(KEYS[1])[1], KEYS[2]),
                      'mark', 'rollback', 'payload', '{}')
mark = string.format('%d %s %s', math.max(string.match(mark, '^%d+'), ARGV[1], ARGV[2]) + 1, id, ARGV[3])
redis.call('SET', KEYS[2], mark)
return mark
