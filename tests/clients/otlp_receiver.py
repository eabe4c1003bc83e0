"""Rotel, a real receiver of OTLP: takes traces over HTTP and prints each span as it decoded it."""

import os
import re
import socket
import subprocess
import threading
import time

import rotel

DEADLINE_S = 30
FIELD = re.compile(r"^ *(Trace ID|Parent ID|ID|Name|Kind|Status code|Status message) *: ?(.*)$")
ATTRIBUTE = re.compile(r"^ +-> ([^:]+): (Str|Int|Double|Bool|[A-Z]\w*)\((.*)\)$")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Rotel:
    """`spans` are dicts of `FIELD`s, with `scope`, `request` (its number), and `attributes`: key to
    (type, text)."""

    def __init__(self):
        self.spans, self.requests, self.scope = [], 0, None
        self.lines, self.changed = [], threading.Condition()
        agent = os.path.join(os.path.dirname(rotel.__file__), "rotel-agent")
        # It cannot choose its ports: another process may take one before it does.
        for _ in range(5):
            http, grpc = free_port(), free_port()
            self.process = subprocess.Popen(
                [agent, "start", "--exporter", "blackhole"]
                + ["--otlp-http-endpoint", f"127.0.0.1:{http}"]
                + ["--otlp-grpc-endpoint", f"127.0.0.1:{grpc}"]
                + ["--debug-log", "traces", "--debug-log-verbosity", "detailed"],
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            threading.Thread(target=self.listen, daemon=True).start()
            if self.answers(http):
                self.url = f"http://127.0.0.1:{http}"
                return
        raise AssertionError("rotel does not start: " + "\n".join(self.lines))

    def answers(self, port):
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return True
            except OSError:
                time.sleep(0.05)
        return False

    def listen(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.read(self.lines[-1])
                self.changed.notify_all()

    def read(self, line):
        if line.startswith("ResourceSpans #"):
            self.requests += line == "ResourceSpans #0"
        elif line.startswith("InstrumentationScope "):
            self.scope = line.split()[1]
        elif line.startswith("Span #"):
            span = {"scope": self.scope, "request": self.requests, "attributes": {}}
            self.spans.append(span)
        elif self.spans:
            field, attribute = FIELD.match(line), ATTRIBUTE.match(line)
            if field:
                self.spans[-1].setdefault(field[1], field[2].strip())
            elif attribute:
                self.spans[-1]["attributes"][attribute[1]] = (attribute[2], attribute[3])

    def wait_for(self, wanted):
        """All spans that `wanted(span)` says yes to, once there are any and no more come."""
        end = time.monotonic() + DEADLINE_S
        with self.changed:
            while not any(wanted(span) for span in self.spans) or self.changed.wait(0.3):
                left = end - time.monotonic()
                assert left > 0, f"no such span came; {len(self.spans)} others did"
                self.changed.wait(min(left, 0.3))
            return [span for span in self.spans if wanted(span)]

    def end(self):
        self.process.terminate()
        self.process.wait(timeout=DEADLINE_S)
