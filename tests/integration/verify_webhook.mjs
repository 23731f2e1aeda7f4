// Verifies a webhook with the library of Standard Webhooks: {secret, content, headers} on stdin.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secret, content, headers } = JSON.parse(readFileSync(0, "utf8"));
new Webhook(secret).verify(content, headers);
