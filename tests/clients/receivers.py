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
    post = {"read": read, "secret": secret, "headers": dict(headers)}
    post["body"] = base64.b64encode(body).decode()
    script = pathlib.Path(__file__).with_name("receivers.cjs")
    done = subprocess.run(["node", script], input=json.dumps(post), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
