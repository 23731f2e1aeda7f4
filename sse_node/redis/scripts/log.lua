-- Redis' clock when the script began: its reply to TIME.
local begun = redis.call('TIME')

local function now_ms()
  return begun[1] * 1000 + begun[2] / 1000
end

local function ms_of(id)
  return tonumber(string.match(id, '^%d+'))
end

local function last_of(log)
  return redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1] or {'0-0', {}}
end

-- The id for the first entry that a script adds after one with last_id, "*" while Redis' clock is ahead of
-- the log. When the clock was set back, Redis would count on in the log's last millisecond, and a replica
-- that is promoted without the last entries would give their ids to other events. A new millisecond and a
-- digest make the id its own, and those that Redis counts on from it. Numbers in Lua are exact below 2^53;
-- beyond that Redis counts on.
local function next_id(last_id, payload)
  local last_ms = ms_of(last_id)
  if last_ms <= now_ms() or last_ms >= 2 ^ 53 then
    return '*'
  end
  local digest = string.sub(redis.sha1hex(payload .. begun[1] .. begun[2]), 1, 12)
  return string.format('%.0f-%.0f', last_ms + 1, tonumber(digest, 16))
end

-- The log's random name is that of a consumer group: it is replicated and deleted with the log.
-- Ids are the log's own only beside this name. The group `webhooks` reads the log and is not its name. The
-- group `superseded:MS` ends at MS: until then no events are taken, since the server is not the master any more.
local function read_groups(log)
  local groups = redis.pcall('XINFO', 'GROUPS', log)
  if groups.err and not string.find(groups.err, 'no such key', 1, true) then
    error(groups.err)
  end
  local found, superseded_ms
  for _, group in ipairs(groups) do
    local until_ms = string.match(group[2], '^superseded:(%d+)$')
    if until_ms then
      superseded_ms = math.max(superseded_ms or 0, tonumber(until_ms))
    elseif group[2] ~= 'webhooks' then
      found = found or group[2]
    end
  end
  return found, superseded_ms
end

local function name_of(log)
  local name = read_groups(log)
  if name then
    return name
  end
  name = string.sub(redis.sha1hex(log .. begun[1] .. begun[2]), 1, 16)
  redis.call('XGROUP', 'CREATE', log, name, '0', 'MKSTREAM')
  return name
end

-- The running total of an entry, nil for one that another program has written.
local function total_of(entry)
  local fields = entry[2]
  if fields[#fields - 1] == 'total' then
    return tonumber(fields[#fields])
  end
end

-- The millisecond from which entries are kept so that the log has log_bytes, nil to keep all. Totals rise
-- with the ids, so a binary search finds it. Up to `precision` bytes more may stay, and all entries of the
-- last millisecond do.
local function first_kept_ms(log, total, log_bytes, precision)
  local dropped = total - log_bytes  -- the highest total of an entry that is dropped
  if dropped < 0 or redis.pcall('XRANGE', log, '-', '-').err then
    return nil  -- who may not XRANGE publishes without this bound
  end
  -- The total of the first entry from an id on, and its millisecond. The total is 0 where ten entries have
  -- none, and for one above the log's, which is from before the totals began anew.
  local function find(id)
    local entries
    for _, count in ipairs({1, 10}) do
      entries = redis.call('XRANGE', log, id, '+', 'COUNT', count)
      for _, entry in ipairs(entries) do
        local found = total_of(entry)
        if found then
          return found <= total and found or 0, ms_of(entry[1])
        end
      end
    end
    if not entries[1] then
      return total
    end
    return 0, ms_of(entries[#entries][1])
  end
  local low_total, low = find('-')
  local high = ms_of(last_of(log)[1])
  if low_total > dropped then
    return nil
  end
  for _ = 1, 64 do
    if high - low <= 1 or dropped - low_total < precision then
      break
    end
    local middle = math.floor((low + high) / 2)
    local middle_total, ms = find(string.format('%.0f', middle))
    if middle_total > dropped then
      high = middle
    else
      low, low_total = ms, middle_total
    end
  end
  return string.format('%.0f', math.min(low + 1, high))
end

-- The state of the log, read at the first event of a script: its random name; its bounds in entries and in
-- bytes of payloads (0: none); the running total of its last entry.
local log_name, log_length, log_bytes, total

-- Refuse events while the server is not the master any more; to be asked before a script writes anything.
local function superseded(log)
  local until_ms
  log_name, until_ms = read_groups(log)
  if until_ms and now_ms() < until_ms then
    return redis.error_reply('READONLY this server is not the master any more')
  end
end

-- Appends to the log and publishes in one atomic step, after `superseded` has been asked;
-- the entry's id is the event's id and becomes the first member of the message, the log's name the second.
-- The log's key is sse:log after the prefix of a namespace, which the channel is given too. The
-- entry has the channel's plain name.
-- Bounds are LENGTH or LENGTH:BYTES. Each entry carries the running total of the payloads' bytes. Each time
-- it has grown by a hundredth of BYTES, entries are dropped by bytes instead of by number: at most a
-- twentieth of LENGTH, so that a bound that was lowered does not block Redis.
local function publish(log, bounds, channel, payload)
  local id = '*'
  if not log_length then
    log_length, log_bytes = string.match(bounds, '^(%d+):?(%d*)$')
    if not log_length then
      error('the bounds of the log are ' .. bounds .. '; expected LENGTH or LENGTH:BYTES')
    end
    log_bytes = tonumber(log_bytes) or 1073741824  -- as --log-bytes has it
    log_name = log_name or name_of(log)
    local last = last_of(log)
    total = total_of(last)
    if not total then
      for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 10)) do
        total = total or total_of(entry)
      end
      total = total or 0
    end
    id = next_id(last[1], payload)
  end
  local step = log_bytes / 100
  local is_due = log_bytes > 0 and total % step + #payload >= step
  total = (total + #payload) % 2 ^ 53
  local kept_ms = is_due and first_kept_ms(log, total, log_bytes, step)
  if kept_ms then
    local most = string.format('%.0f', math.max(10000, log_length / 20))
    id = redis.call('XADD', log, 'MINID', '~', kept_ms, 'LIMIT', most, id,
                    'channel', channel, 'payload', payload, 'total', string.format('%d', total))
  else
    id = redis.call('XADD', log, 'MAXLEN', '~', log_length, id,
                    'channel', channel, 'payload', payload, 'total', string.format('%d', total))
  end
  local prefix = string.sub(log, 1, -(#'sse:log' + 1))
  tell(prefix, channel, '{"id":"' .. id .. '","log":"' .. log_name .. '",' .. string.sub(payload, 2))
  return id
end

-- Refuse a command that its sender has given up: a Redis that was stopped would otherwise carry it
-- out when it goes on, after somebody was told that it failed. 0 means no limit.
local function given_up(not_after_ms)
  if tonumber(not_after_ms) > 0 and now_ms() > tonumber(not_after_ms) then
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
