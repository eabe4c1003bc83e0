"""The world around the gateway: a provider, receivers, and the real binary between them."""

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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DEADLINE_S = 30
KEY = "sk-clients-0123456789abcdef"
LISTENS = re.compile(r"Hookgate listens on (http://127\.0\.0\.1:\d+)")

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PLAIN_SECRET = "a secret in plain text, 0123456789"
HMAC_KEY = "ab01" * 16
# RFC 8032's first test key.
PRIVATE_KEY = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
PUBLIC_KEY = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

CONFIG = """
model_list:
  - model_name: gpt-4o
    litellm_params: {{model: openai/gpt-4o, api_base: "{provider}/v1", api_key: sk-provider}}
  - model_name: claude
    litellm_params:
      model: anthropic/claude-3-5-sonnet-20241022
      api_base: "{provider}"
      api_key: sk-provider
  - model_name: nobody-there
    litellm_params: {{model: openai/gpt-4o, api_base: "http://127.0.0.1:1/v1", api_key: sk-provider}}
router_settings:
  num_retries: 0 # else the gateway itself waits as the provider's retry-after says
general_settings:
  master_key: {key}
litellm_settings:
  callbacks: [logs]
callback_settings:
  logs:
    callback_type: generic_api
    endpoint: "{logs}/logs"
    headers: {{Authorization: Bearer logs-token}}
    batch_size: 10
    flush_interval: 0.2
webhooks:
  primary:
    url: "{standard}/hooks"
    secret: "{whsec}"
    enabled: true
  plain:
    url: "{plain}/hooks"
    secret: "{plain_secret}"
    enabled: true
  helicone:
    url: "{helicone}/hooks"
    format: helicone
    secret: ["{private_key}", "{hmac_key}"]
    enabled: true
  traces: # as OpenRouter sends them
    url: "{rotel}/v1/traces"
    format: otlp
    compression: gzip
    enabled: true
  conventions:
    url: "{rotel}/v1/traces"
    format: otlp
    profile: genai
    integers: number
    batch_size: 4
    flush_interval: 1
    enabled: true
events:
  subscribe: [completion, error]
security:
  signature_algorithm: sha256
  signature_header: X-Webhook-Signature
  require_https: false
"""


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Says nothing of a peer that left in the middle: some cases do."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Server:
    """An HTTP server on a port of the system's choice, on threads of its own."""

    def __init__(self, answer):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Else the head and the body of an answer wait for each other.
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer(self, headers, body)

            do_PUT = do_POST

            def log_message(self, *_):
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


class Receiver:
    """Takes every POST and keeps it: (headers, body)."""

    def __init__(self):
        self.posts = []
        self.changed = threading.Condition()
        self.server = Server(self.take)
        self.url = self.server.url

    def take(self, request, headers, body):
        request.send_response(200)
        request.send_header("content-length", "0")
        request.end_headers()
        request.wfile.flush()
        with self.changed:
            self.posts.append((headers, body))
            self.changed.notify_all()

    def wait_for(self, wanted):
        """The first post that `wanted(headers, body)` says yes to."""
        end = time.monotonic() + DEADLINE_S
        with self.changed:
            while True:
                for headers, body in self.posts:
                    if wanted(headers, body):
                        return headers, body
                left = end - time.monotonic()
                assert left > 0, f"nothing of the kind came; {len(self.posts)} others did"
                self.changed.wait(left)


def reply(request, status, body, headers=()):
    body = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(body)))
    for name, value in headers:
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
    request.wfile.flush()


def stream(request, frames):
    request.send_response(200)
    request.send_header("content-type", "text/event-stream")
    request.send_header("transfer-encoding", "chunked")
    request.end_headers()
    try:
        for frame in frames:
            data = frame.encode()
            request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            request.wfile.flush()
        request.wfile.write(b"0\r\n\r\n")
        request.wfile.flush()
    except OSError:
        request.close_connection = True


class Gateway:
    """The real binary, on a configuration in a directory of its own."""

    def __init__(self, binary, provider, logs, standard, plain, helicone, rotel):
        self.stack = contextlib.ExitStack()
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        config = os.path.join(directory, "config.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(
                CONFIG.format(
                    provider=provider.url,
                    logs=logs.url,
                    standard=standard.url,
                    plain=plain.url,
                    helicone=helicone.url,
                    rotel=rotel.url,
                    key=KEY,
                    whsec=WHSEC,
                    plain_secret=PLAIN_SECRET,
                    hmac_key=HMAC_KEY,
                    private_key=PRIVATE_KEY,
                )
            )
        self.lines = []
        said = queue.Queue()
        self.process = subprocess.Popen(
            [binary, "serve", "--config", config, "--port", "0"]
            + ["--data-dir", os.path.join(directory, "data")],
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

    def end(self):
        """Ends it by SIGTERM and returns its exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=DEADLINE_S)
        self.stack.close()
        return code
