"""A provider that speaks OpenAI's APIs and Anthropic's messages.

The last message says what it is to do: `status 429` fails so, `endless` streams until the caller
leaves, anything else is answered in capitals. Tools that are offered are called.
"""

import json
import threading

import openai_apis
from world import Server, reply, stream

USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
ARGUMENTS = '{"city": "Boston"}'


class Provider:
    def __init__(self):
        self.requests = []
        self.caller_left = threading.Event()
        self.server = Server(self.answer)
        self.url = self.server.url

    def answer(self, request, _headers, body):
        asked = json.loads(body)
        self.requests.append((request.path, asked))
        text = text_of(asked)
        if text.startswith("status "):
            fail(request, int(text.split()[1]))
        elif request.path == "/v1/messages/count_tokens":
            reply(request, 200, {"input_tokens": len(text.split())})
        elif request.path in openai_apis.APIS:
            openai_apis.APIS[request.path](request, asked, text)
        elif request.path == "/v1/messages":
            anthropic(request, asked, text.upper())
        elif text == "endless":
            stream(request, self.endless(request))
        else:
            openai(request, asked, text.upper())

    def endless(self, request):
        yield chunk({"role": "assistant", "content": ""})
        try:
            while True:
                yield chunk({"content": "more "})
        finally:
            self.caller_left.set()


def text_of(asked):
    """What was asked last, in whatever API."""
    last = asked["messages"][-1]["content"] if "messages" in asked else None
    last = last or asked.get("prompt") or asked.get("input")
    if isinstance(last, str):
        return last
    return "".join(part if isinstance(part, str) else part.get("text", "") for part in last)


def fail(request, status):
    message = f"the provider says {status}"
    body = {"error": {"message": message, "type": "scripted", "code": None}}
    if request.path.startswith("/v1/messages"):
        body = {"type": "error", "error": {"type": "scripted_error", "message": message}}
    reply(request, status, body, [("retry-after", "7")])


def openai(request, asked, text):
    tools = asked.get("tools")
    if asked.get("stream"):
        stream(request, openai_frames(asked, text, tools))
        return
    message = {"role": "assistant", "content": text, "refusal": None}
    if tools:
        message = {"role": "assistant", "content": None, "tool_calls": [tool_call(tools)]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tools else "stop"}
    reply(
        request,
        200,
        {
            "id": "chatcmpl-clients",
            "object": "chat.completion",
            "created": 1763700000,
            "model": asked["model"],
            "choices": [choice],
            "usage": USAGE,
        },
    )


def tool_call(tools):
    function = {"name": tools[0]["function"]["name"], "arguments": ARGUMENTS}
    return {"id": "call_1", "type": "function", "function": function}


def openai_frames(asked, text, tools):
    yield chunk({"role": "assistant", "content": None if tools else ""})
    if tools:
        call = {"index": 0, **tool_call(tools)}
        call["function"] = {**call["function"], "arguments": ""}
        yield chunk({"tool_calls": [call]})
        for piece in (ARGUMENTS[:9], ARGUMENTS[9:]):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        for word in text.split(" "):
            yield chunk({"content": word + " "})
    yield chunk({}, "tool_calls" if tools else "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield frame({"choices": [], "usage": USAGE})
    yield "data: [DONE]\n\n"


def chunk(delta, end=None):
    return frame({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]})


def frame(content):
    head = {"id": "chatcmpl-clients", "object": "chat.completion.chunk"}
    head |= {"created": 1763700000, "model": "gpt-4o"}
    return f"data: {json.dumps(head | content)}\n\n"


def anthropic(request, asked, text):
    tools = asked.get("tools")
    message = {
        "id": "msg_clients",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 7},
    }
    if tools:
        use = {"type": "tool_use", "id": "toolu_1", "name": tools[0]["name"]}
        message["content"] = [{**use, "input": json.loads(ARGUMENTS)}]
        message["stop_reason"] = "tool_use"
    if asked.get("stream"):
        stream(request, anthropic_frames(message, text))
    else:
        reply(request, 200, message)


def anthropic_frames(message, text):
    content, stop = message["content"][0], message["stop_reason"]
    if content["type"] == "tool_use":
        start = {**content, "input": {}}
        pieces = [
            {"type": "input_json_delta", "partial_json": piece}
            for piece in ("", ARGUMENTS[:9], ARGUMENTS[9:])
        ]
    else:
        start = {"type": "text", "text": ""}
        pieces = [{"type": "text_delta", "text": word + " "} for word in text.split(" ")]
    opening = {**message, "content": [], "stop_reason": None}
    opening["usage"] = {"input_tokens": 12, "output_tokens": 1}
    events = [{"type": "message_start", "message": opening}]
    events += [{"type": "content_block_start", "index": 0, "content_block": start}]
    events += [{"type": "ping"}]
    events += [{"type": "content_block_delta", "index": 0, "delta": piece} for piece in pieces]
    events += [{"type": "content_block_stop", "index": 0}]
    delta = {"stop_reason": stop, "stop_sequence": None}
    events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}}]
    events += [{"type": "message_stop"}]
    for event in events:
        yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
