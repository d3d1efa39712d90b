"""Ten thousand functions: deployed, listed, and what each costs control at zero."""
import http.client
import json
import os
import threading
import time

from bench import pss_kib, quantile, row, write
from harness import Daemon, echo_spec

FUNCTIONS = int(os.environ.get("FUNCTIONS", "10000"))
WRITERS = 16


def deploy(daemon, numbers, errors):
    conn = http.client.HTTPConnection(*daemon.address, timeout=60)
    body = json.dumps(echo_spec(env={"SOME": "value"}))
    head = {"Authorization": f"Bearer {daemon.token}", "Content-Type": "application/json"}
    for n in numbers:
        conn.request("PUT", f"/v1/functions/fn-{n:06}", body, head)
        answer = conn.getresponse()
        text = answer.read()
        if answer.status != 201:
            errors.append(text)
            return
    conn.close()


def listed(daemon, accept):
    """Milliseconds from the request to the last byte of the whole list, on a kept connection."""
    conn = http.client.HTTPConnection(*daemon.address, timeout=60)
    conn.connect()
    begin = time.perf_counter()
    count = 0
    path = "/v1/functions?limit=1000"
    cursor = ""
    while True:
        conn.request("GET", path + cursor, headers={"Authorization": f"Bearer {daemon.token}", "Accept": accept})
        data = conn.getresponse().read()
        if accept != "application/json":
            took = (time.perf_counter() - begin) * 1000
            count = data.count(b"\n")
            break
        count += 1000
        at = data.rindex(b'"next_cursor"')  # parsing is the client's time, not ours
        more = json.loads(b"{" + data[at:])["next_cursor"]
        took = (time.perf_counter() - begin) * 1000
        if not more:
            break
        cursor = f"&cursor={more}"
    conn.close()
    assert count == FUNCTIONS, count
    return took


def main():
    daemon = Daemon()
    daemon.start()
    try:
        control = daemon.roles()["control"]
        before = pss_kib(control)
        errors = []
        writers = [threading.Thread(target=deploy, args=(daemon, range(i, FUNCTIONS, WRITERS), errors))
                   for i in range(WRITERS)]
        begin = time.perf_counter()
        for w in writers:
            w.start()
        for w in writers:
            w.join()
        took = time.perf_counter() - begin
        assert not errors, errors[:1]
        each = (pss_kib(control) - before) * 1024 / FUNCTIONS
        whole = [listed(daemon, "application/x-ndjson") for _ in range(20)]
        p50 = quantile(whole, 0.5)
        write("listing", [
            row("list.p50", f"{FUNCTIONS:,} functions listed, first to last byte (p50 of 20)", p50, "ms",
                goal="<= 50 ms", passed=p50 <= 50),
            row("list.max", "the slowest of them", max(whole), "ms"),
            row("list.pages", "the same as ten pages of JSON", min(listed(daemon, "application/json") for _ in range(5)), "ms"),
            row("deploy.rate", f"durable deploys a second, {WRITERS} connections", FUNCTIONS / took, "1/s"),
            row("function.bytes", "memory of control a function at zero, its spec included", each, "B"),
        ])
    finally:
        daemon.stop()


main()
