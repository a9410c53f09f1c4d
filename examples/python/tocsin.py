"""Calls Tocsin over HTTP. It needs nothing but Python 3.9 or newer: copy the file into your project.

    tocsin = Tocsin("http://localhost:8080", token)
    tocsin.put_product(1, name="Payments API", observation_notification_min_severity="High")
    tocsin.report(observations)  # any number of dictionaries, also from a generator

Names and meaning of the fields are those of the OpenAPI document, which Tocsin shows at /api/.
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request


class Refused(Exception):
    """An answer that is no success. problem has title, detail and errors; of an import also line and stored."""

    def __init__(self, call, status, problem):
        self.status, self.problem = status, problem
        faults = "".join(f" ({e['location']} {e['message']})" for e in problem.get("errors") or [])
        super().__init__(f"{call}: {status} {problem.get('detail', '')}{faults}")


class Tocsin:
    """One Tocsin. The token is one of "tocsin token create": of the scope ingest, to report and no more."""

    def __init__(self, base, token, attempts=6, timeout=60):
        self.base, self.token, self.attempts, self.timeout = base.rstrip("/") + "/api/v1", token, attempts, timeout

    def call(self, method, path, body=None):
        """Makes a call with body as JSON, and returns the answer. None as a value clears a field."""
        data = None if body is None else json.dumps(body).encode()
        return self._repeat(lambda: self._once(method, path, data, "application/json"), method + " " + path)

    def put_product(self, product_id, **fields):
        """Makes a product, or changes the fields that are given."""
        return self.call("PUT", f"/products/{product_id}", fields)

    def security_gate(self, product_id, passed):
        """Reports whether a product passes its security gate; None: it has none."""
        return self.call("PUT", f"/products/{product_id}/security-gate", {"passed": passed})

    def exception(self, error, **fields):
        """Reports an exception in a request; user and function say whose and which."""
        return self.call("POST", "/exceptions", {"class": type(error).__name__, "message": str(error), **fields})

    def task_exception(self, function, error, **fields):
        """Reports an exception in a background task; arguments, product_id and trace say more."""
        body = {"function": function, "class": type(error).__name__, "message": str(error), **fields}
        return self.call("POST", "/task-exceptions", body)

    def report(self, observations, baseline=False):
        """Reports observations, one a line, while they are made. With baseline they are remembered, not notified.

        A list, or a function that returns an iterable, is sent anew where Tocsin refuses it for the moment: what is stored
        already is unchanged then. A generator can be sent once.
        """
        path = "/observations?baseline=true" if baseline else "/observations"
        lines = lambda: (json.dumps(o).encode() + b"\n" for o in (observations() if callable(observations) else observations))
        send = lambda: self._once("POST", path, lines(), "application/x-ndjson")
        again = callable(observations) or isinstance(observations, (list, tuple))
        return self._repeat(send, "POST /observations") if again else send()

    def list(self, path, **filters):
        """Makes the items of a list, page after page: list("/notifications", severity=["High", "Critical"])."""
        while True:
            page = self.call("GET", path + "?" + urllib.parse.urlencode(filters, doseq=True))
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            filters["cursor"] = page["next_cursor"]

    def _repeat(self, send, call):
        for attempt in range(1, self.attempts + 1):
            try:
                return send()
            except Refused as refused:
                if refused.status not in (429, 502, 503, 504) or attempt == self.attempts:
                    raise
                pause = float(refused.problem.get("retry_after") or 0)
            except (urllib.error.URLError, ConnectionError):  # nobody knows what was done: all of these may come twice
                if attempt == self.attempts:
                    raise
                pause = 0
            time.sleep(min(30, max(pause, 0.25 * 2**attempt)))

    def _once(self, method, path, data, media):
        request = urllib.request.Request(self.base + path, data, method=method)
        request.add_header("Authorization", "Bearer " + self.token)
        request.add_header("Content-Type", media)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            try:
                problem = json.loads(error.read())
            except ValueError:  # of a proxy
                problem = {"detail": error.reason}
            problem["retry_after"] = error.headers.get("Retry-After")
            raise Refused(f"{method} {path}", error.code, problem) from None
        return json.loads(text) if text else None
