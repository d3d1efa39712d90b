"""Cron expressions against an oracle: each minute of some days is asked of Python's zoneinfo, in the way
that docs/schedules.md states what becomes of clocks that are changed."""
import datetime
import os
import random
import subprocess
import zoneinfo

import pytest

from harness import BIN

UTC = datetime.timezone.utc
# A moment at which each of them changes its clock, forward or back, by an hour, by less, or by a day.
TURNS = [("Europe/Berlin", "2027-03-28"), ("Europe/Berlin", "2027-10-31"), ("America/New_York", "2027-03-14"),
         ("America/New_York", "2027-11-07"), ("Australia/Lord_Howe", "2027-04-04"),
         ("Australia/Lord_Howe", "2027-10-03"), ("Pacific/Apia", "2011-12-30"), ("Asia/Kathmandu", "2027-05-01"),
         ("America/Santiago", "2027-04-04"), ("Africa/Cairo", "2027-04-30"), ("UTC", "2028-02-29"),
         ("Europe/Dublin", "2090-03-26"), ("America/St_Johns", "2060-11-07"), ("Africa/Casablanca", "2027-02-07")]
FIELDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()


def parse(text):
    sets = []
    for field, (low, high) in zip(text.split(), FIELDS):
        values = set()
        for part in field.split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            names = MONTHS if high == 12 else DAYS if high == 7 else []

            def number(word):
                return names.index(word) + (high == 12) if word in names else int(word)
            start, end = (low, high) if first == "*" else (number(first), number(last or first))
            values |= set(range(start, end + 1, int(step or 1)))
        sets.append(values)
    sets[4] = {d % 7 for d in sets[4]}
    return sets


def matches(text, sets, local):
    day, weekday = local.day in sets[2], local.isoweekday() % 7 in sets[4]
    star = text.split()[2][0] == "*" or text.split()[4][0] == "*"
    return (local.minute in sets[0] and local.hour in sets[1] and local.month in sets[3]
            and ((day and weekday) if star else (day or weekday)))


def oracle(text, zone, begin, hours):
    """Walks over each minute; what clocks show is asked of zoneinfo alone."""
    sets, zone = parse(text), zoneinfo.ZoneInfo(zone)
    times = text.split()[0][0] != "*" and text.split()[1][0] != "*"
    minute, found = datetime.timedelta(minutes=1), []
    furthest = None  # what the clock has shown at most
    at = begin - datetime.timedelta(hours=30)
    while at < begin + datetime.timedelta(hours=hours):
        local = at.astimezone(zone).replace(tzinfo=None)
        hit = matches(text, sets, local)
        if times and furthest is not None:
            if local <= furthest:
                hit = False
            skipped = furthest + minute
            while skipped < local:
                hit = hit or matches(text, sets, skipped)
                skipped += minute
        furthest = local if furthest is None else max(furthest, local)
        if hit and at > begin:
            found.append(f"{at:%Y-%m-%dT%H:%M:%SZ}")
        at += minute
    return found


def field(rng, low, high, star):
    kind = rng.random()
    if kind < star:
        return "*" if rng.random() < 0.6 else f"*/{rng.choice([2, 3, 5, 7, 15] if high > 15 else [2, 3, 5])}"
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        a, b = sorted((rng.randint(low, high), rng.randint(low, high)))
        parts.append(rng.choice([f"{a}", f"{a}-{b}", f"{a}-{b}/{rng.randint(1, min(9, high))}"]))
    if rng.random() < 0.1 and high in (12, 7):
        return rng.choice(MONTHS if high == 12 else DAYS)
    return ",".join(parts)


def expression(rng, day):
    """Such that something happens near that day."""
    minute = field(rng, 0, 59, 0.4)
    hour = rng.choice([field(rng, 0, 23, 0.3), f"{rng.randint(0, 3)}", "*", "0-4"])
    dom = rng.choice(["*", "*", "*", f"{max(1, day.day - 1)}-{day.day}", field(rng, 1, 31, 0.5)])
    return f"{minute} {hour} {dom} {rng.choice(['*', '*', '*', field(rng, 1, 12, 0.5)])} {field(rng, 0, 7, 0.8)}"


@pytest.mark.parametrize("zone, day", TURNS, ids=lambda v: v)
def test_against_every_minute(zone, day):
    seed = int(os.environ.get("GT_SEED", random.randrange(1 << 30)))
    rng = random.Random(f"{seed} {zone} {day}")
    begin = datetime.datetime.fromisoformat(day).replace(tzinfo=UTC) - datetime.timedelta(hours=36)
    checked = 0
    for _ in range(16):
        text = expression(rng, begin + datetime.timedelta(hours=36))
        ran = subprocess.run([BIN / "gantry", "schedule", "next", "--cron", text, "--zone", zone, "-n", "1000",
                              "--from", f"{begin:%Y-%m-%dT%H:%M:%SZ}"], capture_output=True, text=True, timeout=20)
        if ran.returncode and "no day of any year" in ran.stderr:
            continue
        assert ran.returncode == 0, (text, ran.stderr)
        got = ran.stdout.split()
        want = oracle(text, zone, begin, 72)[:1000]
        assert got[:len(want)] == want, f"seed {seed}: {text} in {zone}"
        end = f"{begin + datetime.timedelta(hours=72):%Y-%m-%dT%H:%M:%SZ}"
        assert len(got) == 1000 or [t for t in got if t < end] == want, f"seed {seed}: {text} in {zone}"
        checked += len(want)
    assert checked > 20


def test_every_zone_of_the_machine_is_read():
    wrong = [z for z in sorted(zoneinfo.available_timezones()) if z not in ("localtime", "Factory")
             and subprocess.run([BIN / "gantry", "schedule", "next", "--cron", "@daily", "--zone", z],
                                capture_output=True, timeout=20).returncode]
    assert not wrong, wrong
