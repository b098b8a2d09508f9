"""The page: targets first, then tables for each subject. No line of it is over 100 columns."""

import textwrap

WIDTH = 100

OPENING = """# Performance

`make bench` writes this page; do not edit it by hand. It builds and installs the library, links
each benchmark (`benches/`) against what was installed, runs them all and the peers, and writes this
page and its plots from what they printed. To repeat it, run `make bench` (Debian 12; about ten
minutes on two cores, on a machine that does nothing else).

Read the **ratios**. Both sides of a ratio are measured by turns in one process, in at least fifteen
rounds. The ratio is the median of the rounds' own ratios. So what disturbs the machine disturbs
both sides. Nanoseconds are those of this machine in that hour.
"""

TITLES = {
    "pick": "The pick",
    "lookup": "Property lookup",
    "load": "Loading nodes",
    "eject": "Ejections",
    "pooled": "Kept connections",
    "cap": "At net.max_connections",
    "send": "Writes without TLS",
    "tls": "TLS",
    "deliver": "Deliveries",
    "failover": "Failover",
    "records": "The example plugin",
    "size": "Size",
}
WORDS = {
    "pick": """\
libupstream is called through the C ABI of the installed `.so`. The peers are called through their
own Rust API, without a boundary to cross. Peers with "model" in their name were written for this
benchmark, after the algorithm they are named after.

- **beside** is the floor: one raw increment (`lock xadd`) of a shared word by as many threads. No
  strict order over all threads can cost less.
- **astray** is the largest difference between how often a node was picked and how often it was due,
  over all threads.
- **run** is the longest row of one node in the picks of one thread. A fast pick that is uneven
  shows here.
- **over** is the number of picks of each thread from which a peer counted astray and run.

With more threads than cores the threads take turns on the cores, in the pick and in the floor
alike, unless the system lets one of them go on alone.

How the pick works: what depends on an increment waits for it, and the other threads wait too. The
plain way is a remainder and then a table (a model here, which checks nothing). At two threads that
takes half as long again as the floor. The library lays the order out until the end of its table. So
the value of the increment is the index, and the only load that depends on it gives the node. There
is no remainder. Once in some 500 picks (in a larger set, once a cycle) a pick goes on to the next
lap.

What was tried, as ratios at two threads in one hour:

- a remainder by multiplication, a table of places and one of nodes: 1.6 to 2.3
- no remainder: 1.55
- no remainder and one table: 1.4; this is what the library has
- a prefetch of the word, or one register less to save: no gain""",
    "lookup": "Processor time of `upstream_node_get_prop`, best of fifteen rounds.",
    "load": """\
Best of several loads, with four keys for each node. Memory is the heap in use, as glibc counts
it.""",
    "pooled": """\
`upstream_node_connect` and `upstream_conn_release` of a kept connection, beside the one
`recv(MSG_PEEK)` that they need.""",
    "eject": """\
`upstream_node_report` of a failed connect, 200 in a row, processor time. Memory is the heap in use
of a set with weights, less that of one without.""",
    "cap": """\
Each connection is kept, so that the figure is what the wait for it costs. The slow node is one
whose callback sleeps for 200 ms, where it sleeps for 2 ms at the others.""",
    "send": """\
Writes to a process on loopback that reads and throws away, beside a bare `sendmsg` loop to the same
process.""",
    "tls": """\
The same C program, once on the library and once on the system's OpenSSL: same server, same cipher
suite, same key exchange (X25519), certificates checked. The figure is the client's processor time,
because the server shares the machine. The ratio is OpenSSL's time divided by the library's: above 1
the library is faster.

The two are nearest in a resumed handshake of TLS 1.2. Which one wins there changes from run to run.
perf shows 82% of the library's time and 71% of OpenSSL's in the kernel. Outside of the kernel the
library takes a third less. In the kernel it takes more for two things:

- the hand-over to the library's thread and back (two wake-ups and the epoll), because hosts call
  from stacks that are too small for a handshake
- the orderly close

Taken out since: a receive after each flight, which found nothing, and one for tickets at the end of
TLS 1.2.""",
    "deliver": """\
`upstream_deliver` with a callback that writes the payload and reads an answer of one byte, beside
the same over a bare socket.""",
    "failover": "The cost of a node that refuses, and of one that swallows packets.",
    "records": "The command-line example, which speaks Forward, over three receivers.",
}
PLOTS = {
    "pick": ["pick-1.svg", "pick-2.svg", "pick-states.svg"],
    "load": ["load.svg"],
    "send": ["send.svg"],
    "tls": ["tls.svg"],
}

ELSEWHERE = """## Quoted: Fluent Bit 5.1.1

Measured elsewhere through its real code, on two cores of another virtual machine. This is not part
of the run above. Do not compare nanoseconds with it.

| work | figure |
|---|---|
| `flb_upstream_ha_node_get` in a shared library, 1 thread (no lock, not thread-safe) | 5.6 ns |
| the same with the mutex it would need | 11 ns |
| the same, 2 threads | 40 to 45 ns a pick |
| `flb_upstream_node_get_property` | 52 ns |
| loading a file of 3,000 nodes | 17 ms |
| one raw increment of a shared word on that machine, 1 thread / 2 threads | 2.1 / 4.3 ns |
"""


def figure(value):
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def judged(row):
    """What is held against the target, the target in words, whether it is met; None without one."""
    held = row.get("ratio", row["value"])
    if "most" in row:
        return held, f"at most {figure(row['most'])}", held <= row["most"]
    if "least" in row:
        return held, f"at least {figure(row['least'])}", held >= row["least"]
    return None


def badness(row):
    held, _, _ = judged(row)
    return held / row["most"] if "most" in row else row["least"] / held if held else float("inf")


def targets(rows):
    """An entry for each kind of target: the figure that is furthest from it."""
    out = [
        "## Targets",
        "",
        "Of each kind of target, the case that is furthest from it.",
        "Targets in ns and us were set on a faster processor than that of this page.",
        "",
    ]

    def kind(row):
        unit = "ratio" if "ratio" in row else row["unit"]
        return row["suite"], unit, row.get("most"), row.get("least"), row.get("threads")

    for (suite, unit, _, _, threads), of_kind in parts(filter(judged, rows), kind).items():
        worst = max(of_kind, key=badness)
        held, target, met = judged(worst)
        missed = sum(not judged(row)[2] for row in of_kind)
        verdict = "met" if met else "**not met**"
        verdict += f" ({missed} of {len(of_kind)})" if missed and len(of_kind) > 1 else ""
        subject = TITLES.get(suite, suite) + (f", {counted(threads)}" if threads else "")
        held = f"ratio {figure(held)}" if unit == "ratio" else f"{figure(held)} {unit}"
        text = f"- {subject}; {worst['case']}: {held}; {target}: {verdict}"
        out += textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return out


def counted(threads):
    return f"{threads} thread{'s' if threads > 1 else ''}"


def line(cells):
    return "| " + " | ".join(cells) + " |"


def remark(row):
    """What is said of a row, and over how many picks its evenness was counted."""
    note, _, rest = row.get("note", "").partition("evenness over ")
    return note.removesuffix("; "), rest.removesuffix(" picks a thread")


def columns(rows):
    """Head and cells of every column that says something, and the notes. A unit or a target of all
    rows is a head."""
    made = {"case": [row["case"] for row in rows]}
    if any(row["who"] != "libupstream" for row in rows):
        made["who"] = [row["who"] for row in rows]
    units = [row["unit"] for row in rows]
    if len(set(units)) == 1:
        made[units[0]] = [figure(row["value"]) for row in rows]
    else:
        made |= {"figure": [figure(row["value"]) for row in rows], "unit": units}
    even = [row if "longest_run" in row else None for row in rows]
    made["beside"] = [figure(row["floor"]) if "floor" in row else "" for row in rows]
    made["ratio"] = [f"{row['ratio']:.2f}" if "ratio" in row else "" for row in rows]
    made["astray"] = [figure(row.get("deviation", 0)) if row else "" for row in even]
    made["run"] = [str(row["longest_run"]) if row else "" for row in even]
    made["over"] = [remark(row)[1] for row in rows]
    made |= [verdicts(rows)]
    notes = list(dict.fromkeys(note for note, _ in map(remark, rows) if note))
    numbers = {note: str(number) for number, note in enumerate(notes, 1)}
    if len(notes) > 1 or not all(remark(row)[0] for row in rows):
        made["note"] = [numbers.get(remark(row)[0], "") for row in rows]
    return {head: cells for head, cells in made.items() if any(cells)}, notes


def verdicts(rows):
    """Head and cells of the column that says which targets are met."""
    found = [judged(row) for row in rows]
    targets_named = {verdict[1] for verdict in found if verdict}
    words = ["" if not verdict else "met" if verdict[2] else "**not met**" for verdict in found]
    if len(targets_named) == 1:
        return targets_named.pop(), words
    both = zip(found, words)
    return "target", [f"{verdict[1]}: {word}" if verdict else "" for verdict, word in both]


def table(rows):
    """One table, and the notes on its rows below it."""
    made, notes = columns(rows)
    out = [line(made), "|" + "---|" * len(made)] + [line(cells) for cells in zip(*made.values())]
    if "note" in made:
        out += ["", "Notes:", ""] + [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    elif notes:
        out += ["", f"Note: {notes[0]}"]
    return out


def parts(rows, by):
    """The rows apart by what `by` gives, in the order of its first appearance."""
    found = {}
    for row in rows:
        found.setdefault(by(row), []).append(row)
    return found


def tables(rows):
    """As one table, or as one for each unit where one would be too wide."""
    whole = table(rows)
    if max(map(len, whole)) <= WIDTH:
        return whole
    out = []
    for of_unit in parts(rows, lambda row: row["unit"]).values():
        out += table(of_unit) + [""]
    return out[:-1]


def in_order(rows):
    """By set, so that those who do the same work stand together."""

    def key(row):
        case = row["case"]
        head = case.split()[0]
        size = int(head) if head.isdigit() else 0
        return "," in case, size, case, not row["who"].startswith("libupstream"), row["ratio"]

    return sorted(rows, key=key)


def whole(rows, facts):
    out = [OPENING, "| | |", "|---|---|"]
    out += [line([what, which]) for what, which in facts]
    versions = [row for row in rows if row["suite"] == "versions"]
    out += [line([row["case"], row["who"]]) for row in versions]
    out += [""] + targets([row for row in rows if row["who"].startswith("libupstream")]) + [""]
    for suite, title in TITLES.items():
        found = [row for row in rows if row["suite"] == suite]
        if not found:
            continue
        out += [f"## {title}", ""] + ([WORDS[suite], ""] if suite in WORDS else [])
        for name in PLOTS.get(suite, []):
            out += [f"![{title}](performance/{name})", ""]
        if suite == "pick":
            for threads, of_threads in sorted(parts(found, lambda row: row["threads"]).items()):
                out += [f"### {counted(threads)}", ""] + tables(in_order(of_threads)) + [""]
        else:
            out += tables(found) + [""]
    unknown = {row["suite"] for row in rows} - set(TITLES) - {"versions"}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise SystemExit(f"report: no title for the figures of {names}; name it in report/page.py")
    return "\n".join(out + [ELSEWHERE])
