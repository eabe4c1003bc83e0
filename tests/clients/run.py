"""The official SDKs against the real binary, and receivers' own code against what it sends.

usage: run.py path/to/hookgate [part of a case's name]
"""

import json
import sys
import time
import traceback

import openai

import endpoints
import management
import receivers
import signatures
import traces
from otlp_receiver import Rotel
from provider import ARGUMENTS, Provider
from world import HMAC_KEY, KEY, PLAIN_SECRET, PUBLIC_KEY, WHSEC, Gateway, Receiver

CASES = []
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]


def case(function):
    CASES.append(function)
    return function


class World:
    def __init__(self, binary):
        self.provider = Provider()
        self.logs, self.standard, self.plain = Receiver(), Receiver(), Receiver()
        self.helicone, self.rotel = Receiver(), Rotel()
        places = (self.logs, self.standard, self.plain, self.helicone, self.rotel)
        self.gateway = Gateway(binary, self.provider, *places)
        self.client = self.caller(KEY)

    def caller(self, key):
        return openai.OpenAI(base_url=self.gateway.url + "/v1", api_key=key, max_retries=0)

    def ask(self, text, model="gpt-4o", **more):
        messages = [{"role": "user", "content": text}]
        return self.client.chat.completions.create(model=model, messages=messages, **more)

    def ask_raw(self, text, model="gpt-4o", **more):
        """The answer, and the gateway's id of the call."""
        messages = [{"role": "user", "content": text}]
        raw = self.client.chat.completions.with_raw_response.create(
            model=model, messages=messages, **more
        )
        return raw.parse(), raw.headers["x-litellm-call-id"]

    def event_of(self, receiver, call_id):
        """The POST about this call at a receiver of single events."""
        wanted = f"evt_{call_id.replace('-', '')}_"
        return receiver.wait_for(lambda headers, _: headers["webhook-id"].startswith(wanted))


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@case
def a_plain_call_is_answered(world):
    answer = world.ask("hello there")
    assert answer.choices[0].message.content == "HELLO THERE"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 19


@case
def a_stream_comes_without_usage_unless_it_was_asked_for(world):
    chunks = list(world.ask("one two", stream=True))
    assert text_of(chunks) == "ONE TWO "
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    _, asked = world.provider.requests[-1]
    assert asked["stream_options"]["include_usage"] is True, "the gateway itself needs it"


@case
def a_stream_ends_with_usage_if_it_was_asked_for(world):
    chunks = list(world.ask("one two", stream=True, stream_options={"include_usage": True}))
    assert text_of(chunks) == "ONE TWO "
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 7
    assert all(chunk.usage is None for chunk in chunks[:-1])


@case
def tools_are_called_plain_and_streamed_by_both_providers(world):
    for model in ("gpt-4o", "claude"):
        call = world.ask("weather?", model=model, tools=TOOLS).choices[0]
        assert call.finish_reason == "tool_calls", model
        function = call.message.tool_calls[0].function
        assert function.name == "get_weather", model
        assert json.loads(function.arguments) == json.loads(ARGUMENTS), model

        name, arguments, end = "", "", None
        for chunk in world.ask("weather?", model=model, tools=TOOLS, stream=True):
            for piece in chunk.choices[0].delta.tool_calls or []:
                name += piece.function.name or ""
                arguments += piece.function.arguments or ""
            end = chunk.choices[0].finish_reason or end
        assert (name, end) == ("get_weather", "tool_calls"), model
        assert json.loads(arguments) == json.loads(ARGUMENTS), model


@case
def a_claude_speaks_like_any_other_model(world):
    answer = world.ask("hello", model="claude")
    assert answer.choices[0].message.content == "HELLO"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (12, 7)
    options = {"include_usage": True}
    chunks = list(world.ask("one two", model="claude", stream=True, stream_options=options))
    assert text_of(chunks) == "ONE TWO "
    assert chunks[-1].usage.total_tokens == 19
    path, asked = world.provider.requests[-1]
    assert path == "/v1/messages" and asked["max_tokens"] > 0


@case
def errors_are_raised_as_the_sdk_names_them(world):
    limited = raises(openai.RateLimitError, lambda: world.ask("status 429"))
    assert limited.response.headers["retry-after"] == "7"
    assert "the provider says 429" in limited.message
    streamed = lambda: list(world.ask("status 429", stream=True))  # noqa: E731
    raises(openai.RateLimitError, streamed)
    raises(openai.BadRequestError, lambda: world.ask("status 400"))
    raises(openai.InternalServerError, lambda: world.ask("status 500"))
    raises(openai.InternalServerError, lambda: world.ask("hello", model="nobody-there"))
    raises(openai.BadRequestError, lambda: world.ask("hello", model="unheard-of"))


@case
def who_shows_a_wrong_key_or_none_is_not_let_in(world):
    no_key = {"Authorization": openai.Omit()}
    messages = [{"role": "user", "content": "x"}]
    for stranger, shown in ((world.caller("sk-wrong"), {}), (world.client, no_key)):
        ask = stranger.chat.completions.create
        raises(openai.AuthenticationError, lambda: stranger.models.list(extra_headers=shown))
        raises(
            openai.AuthenticationError,
            lambda: ask(model="gpt-4o", messages=messages, extra_headers=shown),
        )


@case
def a_mock_response_needs_no_provider(world):
    before = len(world.provider.requests)
    mocked = world.ask("x", extra_body={"mock_response": "mocked, all of it"})
    assert mocked.choices[0].message.content == "mocked, all of it"
    chunks = world.ask("x", stream=True, extra_body={"mock_response": "mocked, all of it"})
    assert text_of(chunks) == "mocked, all of it"
    limited = {"mock_response": "litellm.RateLimitError"}
    raises(openai.RateLimitError, lambda: world.ask("x", extra_body=limited))
    assert len(world.provider.requests) == before


@case
def models_are_listed(world):
    assert {model.id for model in world.client.models.list()} == {"gpt-4o", "claude", "nobody-there"}


@case
def an_event_passes_both_receivers_own_checks(world):
    _, call_id = world.ask_raw("tell them")
    places = [(world.standard, WHSEC), (world.plain, PLAIN_SECRET)]
    for receiver, secret in places:
        headers, body = world.event_of(receiver, call_id)
        for read in (receivers.read_by_library, receivers.read_by_hmac):
            event = read(secret, headers, body)
            assert event and event["event"] == "completion", read.__name__
            assert event["request_id"] == "req_" + call_id.replace("-", "")
            assert event["tokens_used"] == 19
    ids = {world.event_of(receiver, call_id)[0]["webhook-id"] for receiver, _ in places}
    assert len(ids) == 1, "one event, one id, whoever gets it"


@case
def what_is_forged_old_or_signed_by_another_fails_both_checks(world):
    _, call_id = world.ask_raw("tell them")
    headers, body = world.event_of(world.standard, call_id)
    old = str(int(time.time()) - 3600)
    forgeries = [
        (WHSEC, headers, body.replace(b"19", b"20")),
        (WHSEC, headers | {"webhook-timestamp": old, "x-webhook-timestamp": old}, body),
        (PLAIN_SECRET, headers, body),
    ]
    for read in (receivers.read_by_library, receivers.read_by_hmac):
        assert read(WHSEC, headers, body), "the genuine one"
        for secret, shown, sent in forgeries:
            assert read(secret, shown, sent) is None, read.__name__


@case
def a_failed_call_and_a_caller_who_leaves_are_told_as_errors(world):
    error = raises(openai.RateLimitError, lambda: world.ask("status 429"))
    headers, body = world.event_of(world.standard, error.response.headers["x-litellm-call-id"])
    event = receivers.read_by_library(WHSEC, headers, body)
    assert (event["event"], event["error_type"]) == ("error", "rate_limit")

    stream, call_id = world.ask_raw("endless", stream=True)
    for number, _ in enumerate(stream):
        if number == 3:
            break
    stream.close()
    assert world.provider.caller_left.wait(30), "the provider was not told to stop"
    headers, body = world.event_of(world.standard, call_id)
    event = receivers.read_by_library(WHSEC, headers, body)
    assert (event["event"], event["error_type"]) == ("error", "client_disconnected")


@case
def a_log_receiver_gets_standard_logging_payloads(world):
    _, call_id = world.ask_raw("log this", user="somebody")
    headers, body = world.logs.wait_for(lambda _, body: call_id.encode() in body)
    assert headers["authorization"] == "Bearer logs-token"
    (payload,) = [item for item in json.loads(body) if item["litellm_call_id"] == call_id]
    assert (payload["status"], payload["model_group"]) == ("success", "gpt-4o")
    assert (payload["prompt_tokens"], payload["completion_tokens"]) == (12, 7)
    assert payload["messages"] == [{"role": "user", "content": "log this"}]
    assert payload["response"]["choices"][0]["message"]["content"] == "LOG THIS"
    assert payload["end_user"] == "somebody"


READ_HELICONE = [
    ("helicone", HMAC_KEY),
    ("documented", HMAC_KEY),
    ("library", HMAC_KEY),
    ("ed25519", PUBLIC_KEY),
]


@case
def helicones_receivers_in_javascript_accept_whatever_is_told(world):
    headers = {"Helicone-Property-10": "ten", "Helicone-User-Id": "u-1"}
    odd = {"10": 1.0, "9": [1e-7, 1e21, -0.0, 12345678901234567890], "é": "\u2028 😀 \x7f/"}
    more = {"extra_headers": headers, "extra_body": {"metadata": odd}, "temperature": 1.0}
    _, plain = world.ask_raw("Grüße \"an\" Kiel\n", **more)
    _, claude = world.ask_raw("hello", model="claude")
    stream, streamed = world.ask_raw("one two", stream=True)
    assert text_of(list(stream)) == "ONE TWO "
    failed = raises(openai.RateLimitError, lambda: world.ask("status 429"))
    seen = {}
    for call_id in (plain, claude, streamed, failed.response.headers["x-litellm-call-id"]):
        headers, body = world.event_of(world.helicone, call_id)
        for read, secret in READ_HELICONE:
            event = receivers.read_in_javascript(read, secret, headers, body)
            assert event and event["request_id"] == call_id, read
        seen[call_id] = event
    assert seen[plain]["user_id"] == "u-1"
    assert seen[plain]["request_body"]["metadata"]["é"] == odd["é"]
    assert seen[plain]["response_body"]["choices"][0]["message"]["content"].startswith("GRÜ")
    assert seen[streamed]["response_body"]["choices"][0]["message"]["content"] == "ONE TWO "
    assert seen[streamed]["response_body"]["streamed_data"][-1]["error"]["line"] == "data: [DONE]"
    assert seen[claude]["provider"] == "ANTHROPIC"
    assert seen[plain]["metadata"]["totalTokens"] == 19


@case
def what_is_forged_or_old_fails_in_javascript_too(world):
    _, call_id = world.ask_raw("tell them")
    headers, body = world.event_of(world.helicone, call_id)
    old = headers | {"webhook-timestamp": str(int(time.time()) - 3600)}
    for read, secret in READ_HELICONE:
        assert receivers.read_in_javascript(read, secret, headers, body), read
        forged = body.replace(b"TELL", b"SELL")
        assert forged != body
        assert receivers.read_in_javascript(read, secret, headers, forged) is None, read
        if read in ("library", "ed25519"):
            assert receivers.read_in_javascript(read, secret, old, body) is None, read
        else:
            wrong = secret.replace("a", "b")
            assert receivers.read_in_javascript(read, wrong, headers, body) is None, read


def main():
    binary, part = sys.argv[1], "".join(sys.argv[2:])
    world = World(binary)
    passed = failed = 0
    for check in CASES + endpoints.CASES + traces.CASES + management.CASES + signatures.CASES:
        if part not in check.__name__:
            continue
        started = time.monotonic()
        try:
            check(world)
            passed += 1
            print(f"ok     {check.__name__} ({time.monotonic() - started:.2f} s)")
        except Exception:
            failed += 1
            print("FAILED", check.__name__)
            traceback.print_exc(file=sys.stdout)
    code = world.gateway.end()
    world.rotel.end()
    if code != 0:
        failed += 1
        print(f"FAILED to end in good order: exit code {code}")
    if failed:
        print("\n".join(["the gateway said:", *world.gateway.lines[-40:]]))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
