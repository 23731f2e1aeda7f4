-- Append a change of an account to its history. at is the Unix time in ms, null for the account's creation.
local function record(history, event_type, at, changes)
  redis.call('RPUSH', history,
             '{"eventType":"' .. event_type .. '","at":' .. at .. ',"changes":' .. changes .. '}')
end

-- Append a change to the history of an account, which was `before` until now; returns the new version. Its
-- time is never before that of the change before it, though Redis' clock may be set back.
local function record_change(history, before, event_type, changes)
  if redis.call('EXISTS', history) == 0 then
    record(history, 'account.created', 'null', before)
  end
  local last = redis.call('LRANGE', history, -1, -1)[1]
  local last_at = tonumber(string.match(last, '^{"eventType":"[%w.]+","at":(%d+)') or 0)
  record(history, event_type, string.format('%.0f', math.max(last_at, math.floor(now_ms()))), changes)
  return version_of(history)
end

-- Whether a version is one that the sender expects: '*' for any, or versions between spaces.
local function is_expected(expected, version)
  return expected == '*' or string.find(expected, ' ' .. version .. ' ', 1, true) ~= nil
end
