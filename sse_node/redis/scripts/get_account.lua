-- KEYS[1] an account  KEYS[2] its history; answers its JSON and its version, nil when there is none.
local account = account_json(KEYS[1])
return account and {account, version_of(KEYS[2])}
