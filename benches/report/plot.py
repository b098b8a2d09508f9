"""The plots, as SVG: bars by groups, on a logarithmic or a plain axis. Readable on light and on
dark pages."""

import html
import math

COLOURS = ["#1f6feb", "#d29922", "#8957e5", "#da3633", "#3fb950", "#768390"]
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 860, 250, 90, 64, 15, 12

DARK, RED = "#1f2328", "#cf222e"


def element(kind, text=None, **attributes):
    """One element; an underscore in the name of an attribute stands for a hyphen."""
    named = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f"<{kind}{named}/>" if text is None else f"<{kind}{named}>{html.escape(text)}</{kind}>"


def bars(title, axis, groups, logarithmic=False, mark=None):
    """`groups` are pairs of a label and a list of (series, value); `mark` is a line across, as
    (value, label)."""
    series = []
    for _, values in groups:
        series += [name for name, _ in values if name not in series]
    values = [value for _, of_group in groups for _, value in of_group]
    if not values:
        return None
    top = max(values + [mark[0] if mark else 0]) * (1.3 if logarithmic else 1.05)
    low = min(0.5, min(values) * 0.8) if logarithmic else 0
    span = WIDTH - LEFT - RIGHT

    def x(value):
        if logarithmic:
            return LEFT + span * (math.log(max(value, low)) - math.log(low)) / (
                math.log(top) - math.log(low)
            )
        return LEFT + span * value / top

    height = (
        TOP
        + sum(len(of_group) * BAR + GAP for _, of_group in groups)
        + 24 * (1 + len(series) // 4)
        + 16
    )
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="12">',
        element("rect", width=WIDTH, height=height, fill="#ffffff"),
        element("text", title, x=16, y=24, font_size=16, font_weight="bold", fill=DARK),
        element("text", axis, x=16, y=44, fill="#59636e"),
    ]
    y = TOP
    for label, of_group in groups:
        middle = f"{y + len(of_group) * BAR / 2 + 4:.0f}"
        out.append(element("text", label, x=LEFT - 10, y=middle, text_anchor="end", fill=DARK))
        for name, value in of_group:
            colour = COLOURS[series.index(name) % len(COLOURS)]
            width = f"{max(x(value) - LEFT, 1):.1f}"
            out.append(element("rect", x=LEFT, y=y, width=width, height=BAR - 3, fill=colour))
            right = f"{x(value) + 5:.1f}"
            text = number(value)
            out.append(element("text", text, x=right, y=y + BAR - 5, fill=DARK, font_size=10))
            y += BAR
        y += GAP
    if mark:
        at = f"{x(mark[0]):.1f}"
        line = {"x1": at, "x2": at, "y1": TOP - 6, "y2": y - GAP, "stroke": RED}
        out.append(element("line", **line, stroke_dasharray="4 3"))
        text = {"x": at, "y": TOP - 9, "text_anchor": "middle", "fill": RED, "font_size": 10}
        out.append(element("text", mark[1], **text))
    for place, name in enumerate(series):
        left, top = 16 + place % 4 * 210, y + 6 + place // 4 * 20
        colour = COLOURS[place % len(COLOURS)]
        out.append(element("rect", x=left, y=top, width=12, height=12, fill=colour))
        out.append(element("text", name, x=left + 18, y=top + 10, fill=DARK))
    out.append("</svg>\n")
    return "\n".join(out)


def number(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def picks(rows, threads):
    return [row for row in rows if row["suite"] == "pick" and row.get("threads") == threads]


def pick_plot(rows, threads):
    found = [
        row for row in picks(rows, threads) if row["who"] != "libupstream" or "," not in row["case"]
    ]
    cases = sorted({row["case"] for row in found}, key=lambda case: int(case.split()[0]))
    groups = [
        (case, [(row["who"], row["ratio"]) for row in found if row["case"] == case])
        for case in cases
    ]
    many = f"{threads} thread{'s' if threads > 1 else ''}"
    return bars(
        f"One pick, {many}",
        "times one raw increment of a shared word, logarithmic; shorter is better",
        groups,
        True,
    )


def own_pick_plot(rows):
    found = [row for row in rows if row["suite"] == "pick" and row["who"] == "libupstream"]
    cases = list(dict.fromkeys(row["case"] for row in found))
    groups = [
        (
            case,
            [
                (f"{row['threads']} threads" if row["threads"] > 1 else "1 thread", row["ratio"])
                for row in found
                if row["case"] == case
            ],
        )
        for case in cases
    ]
    return bars(
        "One pick of libupstream, by the state of the set",
        "times one raw increment of a shared word; shorter is better",
        groups,
        mark=(1.5, "target 1.5"),
    )


def share_plot(rows, suites, title, axis, mark):
    found = [row for row in rows if row["suite"] in suites and "ratio" in row and "least" in row]
    return bars(
        title, axis, [(row["case"], [(row["who"], row["ratio"])]) for row in found], mark=mark
    )


def load_plot(rows):
    found = [row for row in rows if row["suite"] == "load" and row["unit"].startswith("us/node")]
    cases = list(dict.fromkeys(row["case"] for row in found))
    groups = [
        (
            case,
            [
                (row["unit"].removeprefix("us/node, "), row["value"])
                for row in found
                if row["case"] == case
            ],
        )
        for case in cases
    ]
    return bars(
        "Loading", "microseconds for each node; shorter is better", groups, mark=(1, "target 1 us")
    )


def all_of(rows):
    plots = {
        "pick-1.svg": pick_plot(rows, 1),
        "pick-2.svg": pick_plot(rows, 2),
        "pick-states.svg": own_pick_plot(rows),
        "load.svg": load_plot(rows),
        "send.svg": share_plot(
            rows,
            {"send"},
            "Writes without TLS",
            "speed as a share of a bare sendmsg loop; longer is better",
            (0.97, "target 0.97"),
        ),
        "tls.svg": share_plot(
            rows,
            {"tls"},
            "TLS",
            "speed as a multiple of the system's OpenSSL; longer is better",
            (1, "OpenSSL"),
        ),
    }
    return {name: text for name, text in plots.items() if text}
