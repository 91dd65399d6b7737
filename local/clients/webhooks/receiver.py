"""A receiver of webhooks, with the library of Standard Webhooks for Python.

It prints where it listens, reads its secret from the first line that it is given, and prints a line for each delivery.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

known_secret = threading.Event()
secret = ""
last: dict[str, int] = {}  # of each wallet, the sequence that is known
taking = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known_secret.wait()
        try:
            # The signature is of the body as it came, not of what is parsed from it.
            message = Webhook(secret).verify(body, dict(self.headers.items()))
        except WebhookVerificationError as error:
            self.answer(400, f"refused: {error}")
            return
        with taking:
            self.answer(204, take(message))

    def answer(self, status: int, line: str) -> None:
        print(line, flush=True)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def take(message: dict) -> str:
    """Does what docs/events.md asks of every consumer, but for reading what is missing."""
    if message["type"] != "legendary-wallet.wallet.advanced.v1":
        return f"other: {message['type']}"
    run = message["data"]
    known = last.get(run["walletId"], 0)
    if run["version"] <= known:
        return f"again: {run['walletId']}"
    if run["fromSequence"] > known + 1:
        return f"missing: {run['walletId']} {known + 1}"
    last[run["walletId"]] = run["version"]
    return f"taken: {run['walletId']} {run['version']} {json.dumps(run['balance'])}"


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
secret = sys.stdin.readline().strip()
known_secret.set()
sys.stdin.read()  # until whoever has started it ends that
