"""Signatures of Standard Webhooks, by its library."""

from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from sse_node.webhooks.queue import Job


def signed_headers(job: Job, content: bytes, now_s: float) -> dict[str, str]:
    """Return the headers that identify, date and sign a request.

    While a secret is being replaced, the former one signs, too.

    Args:
        job: with the message's id and the secrets.
        content: of the request, UTF-8.
        now_s: Unix time of the attempt.
    """
    moment = datetime.fromtimestamp(int(now_s), UTC)
    signatures = [
        Webhook(secret).sign(job.message.id, moment, content.decode())
        for secret, until_ms in job.secrets
        if until_ms == 0 or now_s * 1000 < until_ms
    ]
    return {
        "webhook-id": job.message.id,
        "webhook-timestamp": str(int(now_s)),
        "webhook-signature": " ".join(signatures),
    }
