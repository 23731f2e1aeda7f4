-- Accounts are hashes of JSON literals: nothing here decodes or re-encodes a number or a string.
local function account_json(key)
  local fields = redis.call('HMGET', key, 'id', 'name', 'balance', 'userId', 'createdAt')
  if not fields[1] then
    return nil
  end
  return '{"id":' .. fields[1] .. ',"name":' .. fields[2] .. ',"balance":' .. fields[3]
      .. ',"userId":' .. fields[4] .. ',"createdAt":' .. fields[5] .. '}'
end

-- The history of an account is the list of its changes, one for each version. An account that is older than
-- histories has none until its next change; it is in its first version.
local function version_of(history)
  return string.format('%d', math.max(1, redis.call('LLEN', history)))
end
