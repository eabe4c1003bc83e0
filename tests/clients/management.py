"""Schemathesis against /api/*: every answer of a running gateway is one that its own description
allows, whatever is asked."""

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from world import DEADLINE_S, LISTENS, Server

KEY = "sk-master-of-the-description-check"

CONFIG = """
model_list:
  - model_name: taken
    litellm_params: {{model: openai/gpt-4o, mock_response: "an answer"}}
  - model_name: refused
    litellm_params: {{model: openai/gpt-4o, mock_response: "an answer"}}
general_settings: {{master_key: {key}}}
webhooks:
  filed: {{url: "{receiver}/filed", event_types: [completion]}}
retry: {{max_attempts: 1}}
security: {{require_https: false, allow_private_destinations: ["127.0.0.0/8"]}}
hookgate: {{ballast_bytes: 0}}
"""

# Values that do not fit each other cannot be told by a schema: 422 is an answer to them, too.
CHECKS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[[operations]]
include-path = "/api/deliveries/{{destination}}/{{id}}/retry"
parameters = {{ "path.destination" = "filed", "path.id" = "{letter}" }}
"""


class Gateway:
    """The real binary with what the operations need: events, deliveries, a dead letter."""

    def __init__(self, binary):
        self.receiver = Server(self.take)
        self.stack = contextlib.ExitStack()
        self.directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        config = os.path.join(self.directory, "config.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(key=KEY, receiver=self.receiver.url))
        self.lines, said = [], queue.Queue()
        self.process = subprocess.Popen(
            [binary, "serve", "--config", config, "--port", "0"]
            + ["--data-dir", os.path.join(self.directory, "data")],
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

        def listen():
            for line in self.process.stdout:
                self.lines.append(line.rstrip())
                said.put(line)
            said.put(None)

        threading.Thread(target=listen, daemon=True).start()
        while True:
            line = said.get(timeout=DEADLINE_S)
            assert line is not None, "the gateway ended: " + "\n".join(self.lines)
            found = LISTENS.search(line)
            if found:
                self.url = found.group(1)
                return

    @staticmethod
    def take(request, headers, body):
        request.send_response(400 if b'"model":"refused"' in body else 200)
        request.send_header("content-length", "0")
        request.end_headers()
        request.wfile.flush()

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": "Bearer " + KEY, "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.load(answer)

    def call(self, model):
        messages = [{"role": "user", "content": "x"}]
        self.ask("/v1/chat/completions", {"model": model, "messages": messages})

    def bury(self):
        """A dead letter's id: refused, and given up once others pass."""
        self.call("refused")
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            self.call("taken")
            letters = self.ask("/api/deliveries?state=dead")["data"]
            if letters:
                return letters[0]["id"]
        raise AssertionError("nothing was given up")

    def end(self):
        self.process.terminate()
        code = self.process.wait(timeout=DEADLINE_S)
        self.stack.close()
        return code


def the_api_keeps_to_its_own_description(world):
    # A gateway of its own: what is asked here stops and removes destinations.
    gateway = Gateway(world.gateway.process.args[0])
    try:
        config = os.path.join(gateway.directory, "schemathesis.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CHECKS.format(letter=gateway.bury()))
        command = os.path.join(os.path.dirname(sys.executable), "schemathesis")
        ran = subprocess.run(
            [command, "--config-file", config, "run", gateway.url + "/openapi.json"]
            + ["--header", "Authorization: Bearer " + KEY, "--continue-on-failure"]
            + ["--max-examples", "60", "--generation-deterministic", "--no-color"],
            cwd=gateway.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        found = re.search(r"(\d+) generated, (\d+) passed", ran.stdout)
        if ran.returncode != 0 or not found:
            raise AssertionError(ran.stdout)
        print(f"       schemathesis: {found.group(0)}")
    finally:
        code = gateway.end()
    assert code == 0, f"the gateway ended with {code}: " + "\n".join(gateway.lines[-40:])


CASES = [the_api_keeps_to_its_own_description]
