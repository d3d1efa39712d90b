"""What may have happened, given what was seen. The history has what clients were told (History) and what replicas wrote
down themselves (worker.py); the cluster's record is read when all faults are over. Each rule that is broken is a line."""
import collections
import json
import threading

Submit = collections.namedtuple("Submit", "key nonce call at")     # acknowledged with this id
Direct = collections.namedtuple("Direct", "nonce begin end status answer")  # status 0: no answer at all
Fault = collections.namedtuple("Fault", "what begin end roles")    # roles: (host, role) that it touched


def brief(text):
    """An answer without its padding, of which an hour's would be gigabytes."""
    return json.dumps({k: v for k, v in json.loads(text).items() if k != "pad"})


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.submits, self.directs, self.faults = [], [], []

    def add(self, what):
        with self.lock:
            {Submit: self.submits, Direct: self.directs, Fault: self.faults}[type(what)].append(what)


class Runs:
    """The replicas' own log."""

    def __init__(self, path):
        self.begun, self.ended = collections.defaultdict(list), set()
        for line in path.read_text().splitlines() if path.exists() else []:
            at, what, nonce, call, attempt, run = json.loads(line)
            if what == "begin":
                self.begun[nonce].append((call, attempt, run, at))
            else:
                self.ended.add(run)


def check_durable(history, runs, record):
    """record: call id -> (view of GET /v1/calls/{id}, its result's status, its result)"""
    wrong = []
    ids = collections.defaultdict(set)
    for s in history.submits:
        ids[s.key].add(s.call)
    wrong += [f"the key {key} is the calls {sorted(calls)}" for key, calls in ids.items() if len(calls) > 1]
    owners = collections.Counter(next(iter(calls)) for calls in ids.values())
    wrong += [f"the call {call} has {n} keys" for call, n in owners.items() if n > 1]
    for s in history.submits:
        if s.call not in record:
            wrong.append(f"{s.key}: call {s.call} was acknowledged and is lost")
            continue
        wrong += check_call(s, runs, *record[s.call])
    return wrong


def check_call(s, runs, view, status, result):
    who = f"{s.key} ({s.call})"
    if view["state"] != "succeeded" or status != 200:
        return [f"{who} has ended as {view['state']}, its result is {status}"]
    wrong = []
    answer = json.loads(result)
    if answer["nonce"] != s.nonce:
        wrong.append(f"{who} has the answer of {answer['nonce']}")
    mine = {run: (call, attempt) for call, attempt, run, _ in runs.begun[s.nonce]}
    if answer["run"] not in mine:
        wrong.append(f"{who}: nobody has made the run of its result")
    if answer["run"] not in runs.ended:
        wrong.append(f"{who}: the run of its result has not ended")
    numbers = [a["attempt"] for a in view["attempts"]]
    if numbers != sorted(set(numbers)):
        wrong.append(f"{who} has the attempts {numbers}")
    good = [a["attempt"] for a in view["attempts"] if a.get("status") == 200]
    if len(good) != 1 or (answer["run"] in mine and mine[answer["run"]] != (s.call, good[0])):
        wrong.append(f"{who}: attempts {good} are good, the result is of {mine.get(answer['run'])}")
    for number, n in collections.Counter(attempt for _, attempt in mine.values()).items():
        if n > 1:
            wrong.append(f"{who}: attempt {number} was run {n} times")
    return wrong


def check_direct(history, runs, home):
    """home: no fault of another host may be felt by these calls."""
    wrong = []
    for d in history.directs:
        begun = runs.begun[d.nonce]
        if len(begun) > 1:
            wrong.append(f"{d.nonce} was run {len(begun)} times")
        if d.status == 200:
            answer = json.loads(d.answer)
            if answer["nonce"] != d.nonce or answer["run"] not in {b[2] for b in begun}:
                wrong.append(f"{d.nonce} has the answer of {answer['nonce']}")
        elif d.nonce.startswith("near-") and not any(
                f.begin - 0.1 <= d.end and d.begin <= f.end + 1.5 and f.roles & home for f in history.faults):
            wrong.append(f"{d.nonce} failed with {d.status} {d.answer[:200]} while nothing was wrong on its way")
    return wrong
