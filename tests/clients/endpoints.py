"""The APIs beside chat, called by the official `openai` and `anthropic` SDKs."""

import json

import anthropic
import openai

import receivers
from openai_apis import VECTOR
from provider import ARGUMENTS
from world import KEY, WHSEC

CASES = []
TOOL = {
    "name": "get_weather",
    "description": "Weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def case(function):
    CASES.append(function)
    return function


def claude(world, key=KEY):
    return anthropic.Anthropic(base_url=world.gateway.url, api_key=key, max_retries=0)


def said(text):
    return {"max_tokens": 50, "messages": [{"role": "user", "content": text}]}


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def event_about(world, call_id):
    """The event about a call, as the Standard Webhooks library reads it."""
    return receivers.read_by_library(WHSEC, *world.event_of(world.standard, call_id))


@case
def completions_are_answered_plain_and_streamed(world):
    ask = world.client.completions
    raw = ask.with_raw_response.create(model="gpt-4o", prompt="one two")
    answer = raw.parse()
    assert (answer.choices[0].text, answer.usage.total_tokens) == ("ONE TWO", 19)
    event = event_about(world, raw.headers["x-litellm-call-id"])
    assert (event["endpoint"], event["content"]) == ("text_completions", "ONE TWO")
    chunks = list(ask.create(model="gpt-4o", prompt="one two", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "ONE TWO "


@case
def embeddings_are_answered_in_both_encodings(world):
    ask = world.client.embeddings
    # The SDK asks for base64 unless told otherwise, and reads it.
    for more in ({}, {"encoding_format": "float"}):
        raw = ask.with_raw_response.create(model="gpt-4o", input=["a", "b"], **more)
        answer = raw.parse()
        assert [item.embedding for item in answer.data] == [VECTOR, VECTOR], more
        event = event_about(world, raw.headers["x-litellm-call-id"])
        assert (event["endpoint"], event["prompt_tokens"]) == ("embeddings", 12)


@case
def responses_are_answered_plain_and_streamed(world):
    ask = world.client.responses
    raw = ask.with_raw_response.create(model="gpt-4o", input="one two")
    answer = raw.parse()
    assert (answer.output_text, answer.usage.total_tokens) == ("ONE TWO", 19)
    event = event_about(world, raw.headers["x-litellm-call-id"])
    assert (event["endpoint"], event["content"]) == ("responses", "ONE TWO")
    with ask.stream(model="gpt-4o", input="one two") as stream:
        words = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().usage.output_tokens == 7
    assert "".join(words) == "ONE TWO "
    raises(openai.RateLimitError, lambda: ask.create(model="gpt-4o", input="status 429"))
    refused = raises(openai.BadRequestError, lambda: ask.create(model="claude", input="x"))
    assert "/v1/responses" in refused.message and "anthropic" in refused.message


@case
def messages_are_answered_plain_and_streamed(world):
    ask = claude(world).messages
    raw = ask.with_raw_response.create(model="claude", **said("one two"))
    answer = raw.parse()
    assert (answer.content[0].text, answer.stop_reason) == ("ONE TWO", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 7)
    event = event_about(world, raw.headers["x-litellm-call-id"])
    assert (event["endpoint"], event["content"]) == ("messages", "ONE TWO")
    assert event["tokens_used"] == 19
    with ask.stream(model="claude", **said("one two")) as stream:
        assert "".join(stream.text_stream) == "ONE TWO "
        assert stream.get_final_message().usage.output_tokens == 7
    counted = ask.count_tokens(model="claude", messages=said("one two three")["messages"])
    assert counted.input_tokens == 3


@case
def messages_call_tools_plain_and_streamed(world):
    ask, more = claude(world).messages, {"model": "claude", "tools": [TOOL], **said("weather?")}
    use = ask.create(**more).content[0]
    assert (use.type, use.name, use.input) == ("tool_use", "get_weather", json.loads(ARGUMENTS))
    with ask.stream(**more) as stream:
        message = stream.get_final_message()
    use = message.content[0]
    assert (message.stop_reason, use.input) == ("tool_use", json.loads(ARGUMENTS))


@case
def errors_are_raised_as_anthropics_sdk_names_them(world):
    ask = claude(world).messages
    for status, kind in (
        (400, anthropic.BadRequestError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
    ):
        text = f"status {status}"
        error = raises(kind, lambda text=text: ask.create(model="claude", **said(text)))
        assert error.body["error"]["message"] == f"the provider says {status}"
        assert error.response.headers["retry-after"] == "7"
    streamed = lambda: list(ask.create(model="claude", stream=True, **said("status 429")))  # noqa: E731
    raises(anthropic.RateLimitError, streamed)
    stranger = claude(world, "sk-wrong").messages
    error = raises(
        anthropic.AuthenticationError, lambda: stranger.create(model="claude", **said("hi"))
    )
    assert error.body["error"]["type"] == "authentication_error"
    event = event_about(world, error.response.headers["x-litellm-call-id"])
    assert (event["event"], event["error_type"]) == ("error", "unauthorized")
    for model in ("gpt-4o", "unheard-of"):
        raises(anthropic.BadRequestError, lambda m=model: ask.create(model=m, **said("hi")))
