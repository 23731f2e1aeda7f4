-- Finish a snapshot job once: keep its snapshot, publish that the job is done, take the job away.
-- A user who has no account any more has no snapshots either. Answers the event's id, false when
-- somebody has finished the job before.
-- KEYS[1] log  KEYS[2] jobs  KEYS[3] the user's snapshots  KEYS[4] the user's account index
-- ARGV[1] log bounds  ARGV[2] not after  ARGV[3] consumer group  ARGV[4] the job's id
-- ARGV[5] the snapshot as JSON  ARGV[6] snapshots kept
-- ARGV[7] the event's payload with the snapshot kept  ARGV[8] without
local late = given_up(ARGV[2]) or superseded(KEYS[1])
if late then
  return late
end
if redis.call('XACK', KEYS[2], ARGV[3], ARGV[4]) == 0 then
  return nil
end
redis.call('XDEL', KEYS[2], ARGV[4])
if redis.call('EXISTS', KEYS[4]) == 0 then
  return publish(KEYS[1], ARGV[1], 'user-events', ARGV[8])
end
redis.call('RPUSH', KEYS[3], ARGV[5])
redis.call('LTRIM', KEYS[3], -ARGV[6], -1)
return publish(KEYS[1], ARGV[1], 'user-events', ARGV[7])
