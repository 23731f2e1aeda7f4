-- The id of the next entry, "*" while Redis' clock is ahead of the log. When the clock was set back,
-- Redis would count on in the log's last millisecond, and a replica that is promoted without the last
-- entries would give their ids to other events. A new millisecond and a digest make the id its own.
local function next_id(log, payload)
  local now = redis.call('TIME')
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local last_ms = last and tonumber(string.match(last[1], '^%d+')) or 0
  if last_ms <= now[1] * 1000 + now[2] / 1000 then
    return '*'
  end
  local digest = string.sub(redis.sha1hex(payload .. now[1] .. now[2]), 1, 12)
  return string.format('%.0f-%.0f', last_ms + 1, tonumber(digest, 16))
end

-- The log's random name is that of its only consumer group: it is replicated and deleted with the log.
-- Ids are the log's own only beside this name.
local function name_of(log)
  local group = redis.call('EXISTS', log) == 1 and redis.call('XINFO', 'GROUPS', log)[1]
  if group then
    return group[2]
  end
  local now = redis.call('TIME')
  local name = string.sub(redis.sha1hex(log .. now[1] .. now[2]), 1, 16)
  redis.call('XGROUP', 'CREATE', log, name, '0', 'MKSTREAM')
  return name
end

-- Appends to the log and publishes in one atomic step;
-- the entry's id is the event's id and becomes the first member of the message, the log's name the second.
-- The log's key is sse:log after the prefix of a namespace, which the channel is given too. The
-- entry has the channel's plain name.
local log_name
local function publish(log, log_length, channel, payload)
  log_name = log_name or name_of(log)
  local id = redis.call('XADD', log, 'MAXLEN', '~', log_length, next_id(log, payload),
                        'channel', channel, 'payload', payload)
  local prefix = string.sub(log, 1, -(#'sse:log' + 1))
  redis.call('PUBLISH', prefix .. channel,
             '{"id":"' .. id .. '","log":"' .. log_name .. '",' .. string.sub(payload, 2))
  return id
end

-- Refuse a command that its sender has given up: a Redis that was stopped would otherwise carry it
-- out when it goes on, after somebody was told that it failed. 0 means no limit.
local function given_up(not_after_ms)
  local now = redis.call('TIME')
  if tonumber(not_after_ms) > 0 and now[1] * 1000 + now[2] / 1000 > tonumber(not_after_ms) then
    return redis.error_reply('LATE the sender has given this command up')
  end
end

-- What a retried request with the same key was answered the first time, or nil. A key that comes
-- with another content is answered with an error.
local function first_answer(record, content)
  if record == '' then
    return nil
  end
  local found = redis.call('HMGET', record, 'content', 'answer')
  if not found[1] then
    return nil
  end
  if found[1] ~= redis.sha1hex(content) then
    return redis.error_reply('IDEMPOTENCY the key was used with another content')
  end
  return found[2]
end

local function remember_answer(record, content, answer, keep_ms)
  if record ~= '' then
    redis.call('HSET', record, 'content', redis.sha1hex(content), 'answer', answer)
    redis.call('PEXPIRE', record, keep_ms)
  end
  return answer
end
