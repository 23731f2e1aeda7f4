-- Read accounts with the length and the beginning of their histories; answers for each {fields, length, entries}.
-- KEYS[1…] an account, its history; an account, its history; …
-- ARGV[1] how many entries of each history, at most  ARGV[2…] names of fields
local answer = {}
for i = 1, #KEYS, 2 do
  local history = KEYS[i + 1]
  answer[#answer + 1] = {
    redis.call('HMGET', KEYS[i], unpack(ARGV, 2)),
    redis.call('LLEN', history),
    redis.call('LRANGE', history, 0, ARGV[1] - 1),
  }
end
return answer
