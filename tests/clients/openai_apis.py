"""OpenAI's APIs beside chat, as the provider speaks them: completions, embeddings, responses."""

import base64
import json
import struct

from world import reply, stream

USAGE = {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19}
VECTOR = [0.5, -1.25, 3.0]


def completions(request, asked, text):
    head = {"id": "cmpl-clients", "object": "text_completion", "created": 1763700000}
    head["model"] = asked["model"]

    def choice(piece, end=None):
        return [{"index": 0, "text": piece, "logprobs": None, "finish_reason": end}]

    if not asked.get("stream"):
        reply(request, 200, head | {"choices": choice(text.upper(), "stop"), "usage": USAGE})
        return
    chunks = [head | {"choices": choice(word.upper() + " ")} for word in text.split(" ")]
    chunks.append(head | {"choices": choice("", "stop")})
    if (asked.get("stream_options") or {}).get("include_usage"):
        chunks.append(head | {"choices": [], "usage": USAGE})
    stream(request, [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"])


def embeddings(request, asked, _text):
    vector = VECTOR
    if asked.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, _ in enumerate(inputs)
    ]
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    answer = {"object": "list", "data": data, "model": asked["model"], "usage": usage}
    reply(request, 200, answer)


def responses(request, asked, text):
    item = {"type": "message", "id": "msg_clients", "role": "assistant"}
    part = {"type": "output_text", "text": text.upper(), "annotations": []}
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 19,
    }
    response = {
        "id": "resp_clients",
        "object": "response",
        "created_at": 1763700000,
        "status": "completed",
        "model": asked["model"],
        "output": [item | {"status": "completed", "content": [part]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
    if asked.get("stream"):
        stream(request, frames(response, item, part))
    else:
        reply(request, 200, response)


def frames(response, item, part):
    opening = response | {"status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun = item | {"status": "in_progress", "content": []}
    events = [
        ("response.created", {"response": opening}),
        ("response.in_progress", {"response": opening}),
        ("response.output_item.added", {"output_index": 0, "item": begun}),
        ("response.content_part.added", place | {"part": part | {"text": ""}}),
    ]
    events += [
        ("response.output_text.delta", place | {"delta": word + " ", "logprobs": []})
        for word in part["text"].split(" ")
    ]
    events += [
        ("response.output_text.done", place | {"text": part["text"], "logprobs": []}),
        ("response.content_part.done", place | {"part": part}),
        ("response.output_item.done", {"output_index": 0, "item": response["output"][0]}),
        ("response.completed", {"response": response}),
    ]
    for number, (kind, content) in enumerate(events):
        event = {"type": kind, "sequence_number": number} | content
        yield f"event: {kind}\ndata: {json.dumps(event)}\n\n"


APIS = {
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
    "/v1/responses": responses,
}
