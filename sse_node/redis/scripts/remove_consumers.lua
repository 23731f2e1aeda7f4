-- Remove the consumers of a group that have no pending entry and are named, or have been idle for long.
-- In one step with the look at them, so that no entry is delivered to a consumer in between and lost with
-- it. A consumer that is still there comes back when it reads. Answers how many were removed, or the error
-- of a command that is refused.
-- KEYS[1] the stream
-- ARGV[1] the group  ARGV[2] idle for at least these milliseconds  ARGV[3] a name, or empty
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
local removed = 0
for _, facts in ipairs(consumers) do
  local about = {}
  for i = 1, #facts, 2 do
    about[facts[i]] = facts[i + 1]
  end
  if about.pending == 0 and (about.name == ARGV[3] or about.idle >= tonumber(ARGV[2])) then
    local answer = redis.pcall('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about.name)
    if type(answer) == 'table' then
      return answer.err
    end
    removed = removed + 1
  end
end
return consumers.err or removed
