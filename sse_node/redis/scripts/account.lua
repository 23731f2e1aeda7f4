-- Accounts are hashes of JSON literals: nothing here decodes or re-encodes a number or a string.
local function account_json(key)
  local fields = redis.call('HMGET', key, 'id', 'name', 'balance', 'userId', 'createdAt')
  if not fields[1] then
    return nil
  end
  return '{"id":' .. fields[1] .. ',"name":' .. fields[2] .. ',"balance":' .. fields[3]
      .. ',"userId":' .. fields[4] .. ',"createdAt":' .. fields[5] .. '}'
end
