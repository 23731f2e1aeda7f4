-- Record in some webhooks that events may be lost.
-- KEYS[1] webhooks that are due  KEYS[2…] webhooks
-- ARGV[1] the id from which they are  ARGV[2] the id until which they are
-- ARGV[3…] the ids of the webhooks
for i = 2, #KEYS do
  if redis.call('HGET', KEYS[i], 'enabled') == '1'
      and is_after(ARGV[2], redis.call('HGET', KEYS[i], 'created_after')) then
    miss(KEYS[i], ARGV[1], ARGV[2], 0)
    plan(KEYS[1], ARGV[i + 1])
  end
end
