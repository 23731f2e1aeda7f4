-- KEYS[1…] accounts; answers a list of their JSON texts, without those that have been deleted.
local accounts = {}
for _, key in ipairs(KEYS) do
  accounts[#accounts + 1] = account_json(key)
end
return accounts
