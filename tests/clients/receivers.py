"""Two receivers as their developers would write them: one by the Standard Webhooks library, one by
the few lines of HMAC that an AI gateway's documentation asks for (header X-Webhook-Signature).

Neither knows anything of the gateway but its secret.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import subprocess
import time

from standardwebhooks import Webhook, WebhookVerificationError

TOLERANCE_S = 300


def key_of(secret):
    """The bytes that sign: base64 behind the prefix, else the text itself."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"))
    return secret.encode()


def read_by_library(secret, headers, body):
    """The event, or None if the library refuses it."""
    verifier = Webhook(key_of(secret))
    try:
        return verifier.verify(body, dict(headers))
    except WebhookVerificationError:
        return None


def passes_library(secret, headers, body):
    """Whether the library accepts a body that need not be one JSON text."""
    try:
        Webhook(key_of(secret)).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def read_by_hmac(secret, headers, body):
    """The event, or None if the signature is wrong or old."""
    timestamp = headers.get("x-webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        return None
    signed = timestamp.encode() + b"." + body
    expected = "sha256=" + hmac.new(key_of(secret), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, headers.get("x-webhook-signature", "")):
        return None
    return json.loads(body)


def read_in_javascript(read, secret, headers, body):
    """The event as the named reader of receivers.cjs sees it, or None."""
    return read_all_in_javascript([(read, secret, headers, body)])[0]


def read_all_in_javascript(posts):
    """The same of many, (read, secret, headers, body) each."""
    names = ("read", "secret", "headers", "body")
    encoded = [(*post[:2], dict(post[2]), base64.b64encode(post[3]).decode()) for post in posts]
    given = json.dumps([dict(zip(names, post)) for post in encoded])
    script = pathlib.Path(__file__).with_name("receivers.cjs")
    done = subprocess.run(["node", script], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
