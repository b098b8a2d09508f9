"""The page: targets first, then a table for each subject."""

OPENING = """# Performance

Written by `make bench`; not to be edited by hand. It builds the library, installs it, links each benchmark (`benches/`) against what was
installed, runs them all and the peers, and writes this page and its plots from what they printed. To repeat it: `make bench`
(Debian 12; about ten minutes on two cores, on a machine that does nothing else).

Read the **ratios**. Both sides of a ratio are measured by turns in one process, in fifteen rounds or more, and the ratio is the median of the
rounds' own: what disturbs the machine disturbs both sides. Nanoseconds are of this machine and of that hour.
"""

TITLES = {
    "pick": "The pick",
    "lookup": "Property look-up",
    "load": "Loading and memory of nodes",
    "pooled": "Kept connections",
    "send": "Writes without TLS",
    "tls": "TLS",
    "deliver": "Deliveries",
    "failover": "Failover",
    "records": "The example plugin",
    "size": "Size",
}
WORDS = {
    "pick": """Through the C ABI of the installed `.so` for libupstream; the peers through their own Rust API, without a boundary to
cross. The floor is one raw increment (`lock xadd`) of a shared word by as many threads: no strict order over all threads can cost
less. *Astray* is the largest difference between how often a node was picked and its due, over all threads; *run* is the longest row
of one node in the picks of one thread: a fast pick that is uneven shows there. With more threads than cores the threads take
turns, and the floor with them, unless the system lets one of them go on alone. What depends on an increment waits for it,
and the other threads wait too: the plain way, a remainder and a table (a model here, which checks nothing), takes half as long again at two
threads. The library lays the order out
until the table's end, so that the increment's own value is the index and the only load that depends on it gives the node: no remainder, and
once in some 500 picks (of a larger set, once a cycle) one that goes on with the next lap. What was tried at two threads, in ratios of one
hour: a remainder by multiplication and a table of places and one of nodes, 1.6 to 2.3; no remainder, 1.55; and one table, 1.4, which is what is
here. No gain: a prefetch of the word, no register saved. Peers with "model" in their name were written for this benchmark after the algorithm they are named after.""",
    "lookup": "Processor time of `upstream_node_get_prop`, best of fifteen rounds.",
    "load": "Best of several loads; four keys a node. Memory is the heap in use as glibc counts it.",
    "pooled": "`upstream_node_connect` and `upstream_conn_release` of a kept connection, beside the one `recv(MSG_PEEK)` that it needs.",
    "send": "To a process on loopback that reads and throws away, beside a bare `sendmsg` loop to the same.",
    "tls": """The same C program on the system's OpenSSL beside the library: same server, same cipher suite, same key exchange (X25519),
certificates checked. Processor time of the client, since the server shares the machine. The ratio is OpenSSL's time by the library's: above 1
the library is the faster. A resumed handshake of TLS 1.2 is where the two are nearest, and it goes either way from run to run: perf shows 82 % of
the library's time and 71 % of OpenSSL's in the kernel, and outside it the library takes a third less. What the kernel takes more is the
hand-over to the library's thread and back (two wake-ups and the epoll), for hosts call from stacks that no handshake fits on, and the
orderly close. Left out since: a receive after each flight, which found nothing, and one for tickets at the end of TLS 1.2.""",
    "deliver": "`upstream_deliver` whose callback writes the payload and reads an answer of one byte, beside the same over a bare socket.",
    "failover": "What a node that refuses, and one that swallows packets, costs.",
    "records": "The command-line example, which speaks Forward, over three receivers.",
}
PLOTS = {
    "pick": ["pick-1.svg", "pick-2.svg", "pick-states.svg"],
    "load": ["load.svg"],
    "send": ["send.svg"],
    "tls": ["tls.svg"],
}

ELSEWHERE = """## Quoted: Fluent Bit 5.1.1

Measured elsewhere through its real code, on two cores of another virtual machine; not part of this run, and not to be compared in
nanoseconds.

| work | figure |
|---|---|
| `flb_upstream_ha_node_get`, 1 thread, through a shared library (no lock, not thread-safe) | 5.6 ns |
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
    """What is held against the target, the target in words, and whether it is met; None without a target."""
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
    """One line for each kind of target: the figure that is furthest from it."""
    out = ["## Targets", "", "Of each kind the figure that is furthest from its target.", "",
           "| subject | furthest | figure | target | |", "|---|---|---|---|---|"]
    kinds = {}
    for row in rows:
        if judged(row):
            unit = "ratio" if "ratio" in row else row["unit"]
            kinds.setdefault((row["suite"], unit, row.get("most"), row.get("least"), row.get("threads")), []).append(row)
    for (suite, unit, _, _, threads), of_kind in kinds.items():
        worst = max(of_kind, key=badness)
        held, target, met = judged(worst)
        missed = sum(not judged(row)[2] for row in of_kind)
        verdict = "met" if met else "**not met**" + (f" ({missed} of {len(of_kind)})" if len(of_kind) > 1 else "")
        subject = TITLES.get(suite, suite) + (f", {threads} thread{'s' if threads > 1 else ''}" if threads else "")
        out.append(f"| {subject} | {worst['case']} | {figure(held)} {'' if unit == 'ratio' else unit} | {target} | {verdict} |")
    return out


def table(suite, rows):
    with_floor = any("floor" in row for row in rows)
    picks = any("longest_run" in row for row in rows)
    threaded = any(row.get("threads", 0) > 0 for row in rows)
    notes = any("note" in row for row in rows)
    head = ["case"] + (["threads"] if threaded else []) + ["who", "figure", "unit"]
    head += (["beside", "ratio"] if with_floor else []) + (["astray", "run"] if picks else []) + ["target"] + (["note"] if notes else [])
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        verdict = judged(row)
        cells = [row["case"]] + ([str(row.get("threads") or "")] if threaded else []) + [row["who"], figure(row["value"]), row["unit"]]
        if with_floor:
            cells += [figure(row["floor"]) if "floor" in row else "", f"{row['ratio']:.2f}" if "ratio" in row else ""]
        if picks:
            cells += [figure(row.get("deviation", 0)) if "longest_run" in row else "", str(row.get("longest_run", ""))]
        cells += [f"{verdict[1]}: {'met' if verdict[2] else '**not met**'}" if verdict else ""]
        cells += [row.get("note", "")] if notes else []
        out.append("| " + " | ".join(cells) + " |")
    return out


def in_order(rows):
    """By set and threads, so that those who do the same work stand together."""
    def key(row):
        head = row["case"].split()[0]
        size = int(head) if head.isdigit() else 0
        return (row.get("threads", 0), "," in row["case"], size, row["case"], not row["who"].startswith("libupstream"), row["ratio"])
    return sorted(rows, key=key)


def whole(rows, facts):
    out = [OPENING, "| | |", "|---|---|"]
    out += [f"| {what} | {which} |" for what, which in facts]
    versions = [row for row in rows if row["suite"] == "versions"]
    out += [f"| {row['case']} | {row['who']} |" for row in versions]
    out += [""] + targets([row for row in rows if row["who"].startswith("libupstream")]) + [""]
    for suite, title in TITLES.items():
        found = [row for row in rows if row["suite"] == suite]
        if not found:
            continue
        out += [f"## {title}", "", WORDS.get(suite, ""), ""] if suite in WORDS else [f"## {title}", ""]
        for name in PLOTS.get(suite, []):
            out += [f"![{title}](performance/{name})", ""]
        out += table(suite, in_order(found) if suite == "pick" else found) + [""]
    unknown = {row["suite"] for row in rows} - set(TITLES) - {"versions"}
    if unknown:
        raise SystemExit(f"report: no place on the page for the figures of {', '.join(sorted(unknown))}; name them in benches/report/page.py")
    return "\n".join(out + [ELSEWHERE])
