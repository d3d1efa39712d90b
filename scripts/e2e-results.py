"""Reads what a run of pytest wrote with --junit-xml. `files XML` prints the files of the tests that failed, if these are few enough to be
tried again; `count XML` prints the line that scripts/summary.sh adds up, `count XML unsteady` after they passed."""
import pathlib
import sys
import xml.etree.ElementTree as tree

FEW = 3


def read(path):
    """(all tests, those that failed, those left out), as `module::test`."""
    every, failed, skipped = set(), set(), set()
    for case in tree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        every.add(name)
        # What went wrong before a test began or after it ended (an import, a fixture) counts, too.
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add(name)
        elif case.find("skipped") is not None:
            skipped.add(name)
    return every, failed, skipped


def main(verb, path, *unsteady):
    try:
        every, failed, skipped = read(path)
    except (tree.ParseError, OSError):
        every, failed, skipped = set(), {"no result"}, set()
    if verb == "files":
        files = [path for name in {name.split("::")[0] for name in failed} for path in pathlib.Path("tests").glob(f"*/{name}.py")]
        print("\n".join(sorted(map(str, files))))
        return 0 if files and len(failed) <= FEW else 1
    passed = len(every - failed - skipped)
    if unsteady:
        passed, again = passed + len(failed), sorted(failed)
        print("\n".join(f"unsteady: {name} failed once, then its file passed twice" for name in again))
    print(f"e2e: {passed} passed, {0 if unsteady else len(failed) or int(passed == 0)} failed")
    return 0


sys.exit(main(*sys.argv[1:]))
