"""Every format, packed and not, under every kind of secret, verified by the official libraries of
Standard Webhooks; by Node's own cryptography where they lack ed25519."""

import base64
import gzip

import receivers
from management import Gateway
from world import PLAIN_SECRET, PRIVATE_KEY, PUBLIC_KEY, WHSEC, Receiver

FORMATS = [
    {"format": "event"},
    {"format": "generic_api"},
    {"format": "generic_api", "log_format": "ndjson"},
    {"format": "generic_api", "log_format": "single"},
    {"format": "otlp"},
    {"format": "otlp", "profile": "genai", "method": "PUT"},
    {"format": "helicone"},
    {"format": "helicone", "compat": "document", "bodies": "string"},
    {"format": "cloudevents"},
    {"format": "cloudevents", "mode": "batch"},
    {"format": "litellm_alert"},
]
OTHER = "whsec_" + base64.b64encode(b"of somebody else, 0123456789abcd").decode()


def text_of(headers, body):
    """What a receiver's framework hands on: unpacked."""
    return gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body


def check(posts):
    """Each post, (what, secret, headers, text, whether it is genuine), is judged so by both libraries."""
    asked = [("passes", secret, headers, text) for _, secret, headers, text, _ in posts]
    in_javascript = receivers.read_all_in_javascript(asked)
    for (what, secret, headers, text, is_genuine), passes in zip(posts, in_javascript):
        assert passes is is_genuine, f"JavaScript: {what}"
        assert receivers.passes_library(secret, headers, text) is is_genuine, f"Python: {what}"


def make(gateway, receiver, name, settings):
    spec = {"name": name, "url": receiver.url + "/", "headers": {"X-Name": name}}
    gateway.ask("/api/destinations", spec | settings)


def test(gateway, receiver, name):
    """What comes of a test: headers and body."""
    answer = gateway.ask(f"/api/destinations/{name}/test", {})
    assert answer["passed"], answer
    return receiver.wait_for(lambda headers, _: headers["x-name"] == name)


def every_format_passes_the_official_libraries_packed_or_not(world):
    gateway, receiver, posts = Gateway(world.gateway.process.args[0]), Receiver(), []
    try:
        for number, options in enumerate(FORMATS):
            for compression in ("none", "gzip"):
                for kind, secret in (("base64", WHSEC), ("text", PLAIN_SECRET)):
                    name = f"{number}-{compression}-{kind}"
                    settings = {"secret": secret, "compression": compression}
                    make(gateway, receiver, name, options | settings)
                    headers, body = test(gateway, receiver, name)
                    assert headers.get("content-encoding", "none") == compression, options
                    text = text_of(headers, body)
                    what = f"{options}, {compression}, {kind}"
                    posts.append((what, secret, headers, text, True))
                    posts.append((what + " of another", OTHER, headers, text, False))
                    posts.append((what + ", changed", secret, headers, text + b" ", False))
        check(posts)
    finally:
        assert gateway.end() == 0


def a_key_that_becomes_a_pair_is_verified_by_either_while_both_sign(world):
    gateway, receiver = Gateway(world.gateway.process.args[0]), Receiver()
    try:
        make(gateway, receiver, "moving", {"secret": WHSEC})
        rotated = gateway.ask("/api/destinations/moving/rotate-secret", {"secret": PRIVATE_KEY})
        assert rotated["public_key"] == PUBLIC_KEY
        headers, body = test(gateway, receiver, "moving")
        kinds = [one.split(",")[0] for one in headers["webhook-signature"].split(" ")]
        assert kinds == ["v1a", "v1"], headers["webhook-signature"]
        check([("moving", WHSEC, headers, body, True)])
        event = receivers.read_in_javascript("ed25519", PUBLIC_KEY, headers, body)
        assert event and event["event"] == "completion"
    finally:
        assert gateway.end() == 0


CASES = [
    every_format_passes_the_official_libraries_packed_or_not,
    a_key_that_becomes_a_pair_is_verified_by_either_while_both_sign,
]
