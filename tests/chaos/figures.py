"""What the suite has counted, in one file: build/chaos.json, a member for each test. `make bench-faults` makes rows of it."""
import json

from harness import OUT

PATH = OUT / "chaos.json"


def note(name, **what):
    all_of_them = json.loads(PATH.read_text()) if PATH.exists() else {}
    all_of_them[name] = what
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(json.dumps(all_of_them, indent=1, sort_keys=True) + "\n")
