-- Which of these ids the log holds: answers the id of its first entry (false when it is empty),
-- then for each id 1 or 0.
-- KEYS[1] the log  ARGV[1…] ids
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
local answer = {first[1] and first[1][1] or false}
for i, id in ipairs(ARGV) do
  answer[i + 1] = #redis.call('XRANGE', KEYS[1], id, id)
end
return answer
