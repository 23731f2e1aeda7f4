-- Create the consumer group of webhooks unless it exists.
-- KEYS[1] log  KEYS[2] the state of all
create_group(KEYS[1], KEYS[2])
