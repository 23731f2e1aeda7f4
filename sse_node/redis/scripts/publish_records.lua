-- Publish the records of one part of a source, of a partition or a queue: append each to the log and publish
-- it, and remember how far this part has come, all or nothing. A record that comes again publishes nothing.
-- KEYS[1]  the log (sse:log, or NAMESPACE:sse:log)
-- KEYS[2]  how far each part of the source has come (sse:source:<name>), a hash
-- KEYS[3…] the marks of the keys that records have (sse:idempotency:<name>)
-- ARGV[1]  LENGTH or LENGTH:BYTES of the log
-- ARGV[2]  Unix time in milliseconds by Redis' clock after which nothing is done; 0 for none
-- ARGV[3]  how long the mark of a key is kept, in milliseconds
-- ARGV[4]  the part, empty when its records have no positions
-- ARGV[5]  the position of its last record, which may be one that publishes nothing
-- ARGV[6…] position, place of the key's mark in KEYS or 0, channel, payload; …
-- Answers how many events were published.
local late = given_up(ARGV[2]) or superseded(KEYS[1])
if late then
  return late
end
local part = ARGV[4]
local done = -1
if part ~= '' then
  done = tonumber(redis.call('HGET', KEYS[2], part) or done)
end
local published = 0
for i = 6, #ARGV, 4 do
  local mark = KEYS[tonumber(ARGV[i + 1])]
  local is_new = part == '' or tonumber(ARGV[i]) > done
  if is_new and (not mark or redis.call('SET', mark, '1', 'NX', 'PX', ARGV[3])) then
    publish(KEYS[1], ARGV[1], ARGV[i + 2], ARGV[i + 3])
    published = published + 1
  end
end
if part ~= '' and tonumber(ARGV[5]) > done then
  redis.call('HSET', KEYS[2], part, ARGV[5])
end
return published
