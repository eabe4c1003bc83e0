"""What Rotel, a real receiver of OTLP, decodes of the traces that it is sent."""

import hashlib
import json

import openai

CASES = []
CALL_ID = "trace.metadata.hookgate.call_id"


def case(function):
    CASES.append(function)
    return function


def trace_of(world, call_id, scope):
    """The spans of a call's trace at one destination, the root first."""

    def is_root(span):
        return span["scope"] == scope and span["attributes"].get(CALL_ID) == ("Str", call_id)

    (root,) = world.rotel.wait_for(is_root)
    own = lambda span: span["Parent ID"] == root["ID"] and span["scope"] == scope  # noqa: E731
    return [root] + [span for span in world.rotel.spans if own(span)]


def text(span, key):
    kind, value = span["attributes"][key]
    assert kind == "Str", (key, kind)
    return value


def first_16(generation_id):
    return hashlib.sha256(generation_id.encode()).hexdigest()[:16]


@case
def rotel_decodes_traces_as_openrouter_sends_them(world):
    trace = {"trace_id": "workflow-1", "trace_name": "Clients", "team": "search", "share": 0.5}
    more = {"extra_body": {"trace": trace, "session_id": "s-1", "mock_response": "mocked"}}
    _, call_id = world.ask_raw("trace this", user="u-1", **more)
    root, attempt = trace_of(world, call_id, "openrouter")
    assert (root["Name"], root["Kind"]) == ("LLM Generation", "SPAN_KIND_CLIENT")
    assert root["Status code"] == "STATUS_CODE_OK"
    generation = text(root, "gen_ai.response.id")
    assert root["Trace ID"] == hashlib.sha256(b"workflow-1").hexdigest()[:32]
    assert (root["ID"], root["Parent ID"]) == (first_16(generation), "")
    assert attempt["ID"] == first_16(generation + ":attempt-0")
    assert (attempt["Name"], attempt["Kind"]) == ("provider attempt 1: OpenAI", "SPAN_KIND_SERVER")
    assert attempt["Trace ID"] == root["Trace ID"]
    for key, value in {"trace.name": "Clients", "user.id": "u-1", "session.id": "s-1"}.items():
        assert text(root, key) == value, key
    assert text(root, "trace.metadata.team") == text(root, "span.metadata.team") == "search"
    assert root["attributes"]["trace.metadata.share"] == ("Double", "0.5")
    kinds = {
        "gen_ai.usage.input_tokens": "Int",
        "gen_ai.usage.total_cost": "Double",
        "gen_ai.response.finish_reasons": "Str",
    }
    assert {key: root["attributes"][key][0] for key in kinds} == kinds
    prompt = json.loads(text(root, "gen_ai.prompt"))
    assert prompt == {"messages": [{"role": "user", "content": "trace this"}]}
    assert json.loads(text(root, "gen_ai.completion"))["completion"] == "mocked"


@case
def rotel_decodes_streams_tools_and_failures(world):
    stream, streamed = world.ask_raw("one two", stream=True)
    assert len(list(stream)) > 1
    root, attempt, generation = trace_of(world, streamed, "openrouter")
    assert generation["Name"] == "generation"
    assert root["attributes"]["gen_ai.usage.output_tokens"] == ("Int", "7")
    assert json.loads(text(root, "trace.output"))["completion"] == "ONE TWO "

    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
    _, called = world.ask_raw("weather?", model="claude", tools=[tool])
    root = trace_of(world, called, "openrouter")[0]
    (call,) = json.loads(text(root, "gen_ai.completion"))["toolCalls"]
    assert (call["index"], call["function"]["name"]) == (0, "get_weather")
    assert text(root, "gen_ai.response.finish_reason") == "tool_calls"
    assert text(root, "trace.metadata.openrouter.finish_reason") == "tool_use"

    for question in ("status 500", "status 429"):
        try:
            world.ask(question)
            raise AssertionError("it should have failed")
        except openai.APIStatusError as error:
            failed = error.response.headers["x-litellm-call-id"]
        for scope in ("openrouter", "hookgate"):
            root = trace_of(world, failed, scope)[0]
            assert root["Status code"] == "STATUS_CODE_ERROR"
            assert question.split()[1] in root["Status message"]
        assert text(root, "error.type") == {"status 500": "provider_error"}.get(
            question, "rate_limit"
        )


@case
def rotel_decodes_batches_by_the_conventions(world):
    ids = [world.ask_raw(f"batch {number}")[1] for number in range(8)]
    roots = [trace_of(world, call_id, "hookgate")[0] for call_id in ids]
    for number, root in enumerate(roots):
        assert (root["Name"], root["Kind"]) == ("chat gpt-4o", "SPAN_KIND_CLIENT")
        assert text(root, "gen_ai.provider.name") == "openai"
        assert root["attributes"]["gen_ai.usage.input_tokens"] == ("Int", "12")
        (message,) = json.loads(text(root, "gen_ai.input.messages"))
        assert message["parts"] == [{"type": "text", "content": f"batch {number}"}]
    requests = [root["request"] for root in roots]
    assert len(set(requests)) < len(requests), "no two came in one request"
