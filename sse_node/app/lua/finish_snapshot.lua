-- Finish a snapshot job once: keep its snapshot, publish that it is there, take the job away.
-- Answers the event's id, false when somebody has finished the job before.
-- KEYS[1] log  KEYS[2] jobs  KEYS[3] the user's snapshots
-- ARGV[1] log length  ARGV[2] consumer group  ARGV[3] the job's id
-- ARGV[4] the snapshot as JSON  ARGV[5] snapshots kept  ARGV[6] the event's payload
if redis.call('XACK', KEYS[2], ARGV[2], ARGV[3]) == 0 then
  return nil
end
redis.call('XDEL', KEYS[2], ARGV[3])
redis.call('RPUSH', KEYS[3], ARGV[4])
redis.call('LTRIM', KEYS[3], -ARGV[5], -1)
return publish(KEYS[1], ARGV[1], 'user-events', ARGV[6])
