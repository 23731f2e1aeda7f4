-- Append entries to a log with ids that they have, in their order.
-- KEYS[1] the log  ARGV[1…] id, mark or empty, channel, payload, total; …
for i = 1, #ARGV, 5 do
  if ARGV[i + 1] ~= '' then
    redis.call('XADD', KEYS[1], ARGV[i], 'mark', ARGV[i + 1], 'payload', ARGV[i + 3])
  else
    redis.call('XADD', KEYS[1], ARGV[i], 'channel', ARGV[i + 2], 'payload', ARGV[i + 3], 'total', ARGV[i + 4])
  end
end
return redis.call('XLEN', KEYS[1])
