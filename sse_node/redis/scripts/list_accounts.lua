-- A user's accounts in the order of their ids, as a list of JSON texts.
-- KEYS[1] the user's account index  ARGV[1] prefix of account keys
-- ARGV[2] only ids above this one   ARGV[3] at most so many
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])
local accounts = {}
for _, id in ipairs(ids) do
  accounts[#accounts + 1] = account_json(ARGV[1] .. id)
end
return accounts
