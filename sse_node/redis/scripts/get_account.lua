-- KEYS[1] an account; answers its JSON, false when there is none.
return account_json(KEYS[1])
