"""report ROWS DOCS: write DOCS/performance.md and its plots from the figures in ROWS.

The benchmarks print a line of JSON for each figure. What a figure must reach comes with it. What is
quoted from elsewhere is marked as quoted.
"""

import json
import pathlib
import sys

import machine
import page
import plot


def read(folder):
    rows = []
    for path in sorted(pathlib.Path(folder).iterdir()):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                place = f"report: {path}:{number}"
                sys.exit(f"{place}: not a figure: {error}; run the benchmarks again")
    if not rows:
        sys.exit(f"report: no figures in {folder}; run the benchmarks first")
    return rows


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: report ROWS DOCS")
    rows, docs = read(sys.argv[1]), pathlib.Path(sys.argv[2])
    plots = docs / "performance"
    plots.mkdir(parents=True, exist_ok=True)
    for name, text in plot.all_of(rows).items():
        (plots / name).write_text(text)
    (docs / "performance.md").write_text(page.whole(rows, machine.facts()))


main()
