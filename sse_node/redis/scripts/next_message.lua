-- Return the message at the head of a claimed webhook's queue with what is needed to send it, and claim the
-- webhook for longer. Nothing is returned when the claim is another's, or when there is nothing to send: then
-- the webhook is not due any more.
-- KEYS[1] the webhook  KEYS[2] its messages  KEYS[3] webhooks that are due  KEYS[4] the state of all
-- ARGV[1] its id  ARGV[2] the claim  ARGV[3] how long, in ms
return next_message(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3])
