-- Publish on the channel of a plain name. The prefix is that of keys and channels; that of one of several
-- shards ends with shardN{TAG}: and its messages go by sharded Pub/Sub.
local function tell(prefix, channel, payload)
  local command = string.find(prefix, 'shard%d+{%d+}:$') and 'SPUBLISH' or 'PUBLISH'
  redis.call(command, prefix .. channel, payload)
end
