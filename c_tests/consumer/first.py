#!/usr/bin/env python3
"""first.py README RECEIVERS WORK CC FLAGS...: does the first program of the README keep its word?

Builds the program in WORK; the compiler gets `SOURCE -o PROGRAM` in place of "{}". Runs it with the
README's upstream file against RECEIVERS (scripts/receivers) on free ports. The lines must come to
the nodes in turn. With one server missing the others must get all lines; without any server the
program must say so and fail.
"""

import os
import re
import subprocess
import sys


class Servers:
    def __init__(self, receivers, ports):
        self.process = subprocess.Popen([receivers, *ports], stdout=subprocess.PIPE, text=True)
        self.ports = []
        while (line := self.process.stdout.readline()) and not line.startswith("ready"):
            self.ports.append(line.strip().rpartition(":")[2])

    def end(self):
        """The lines in the order in which they came: (port, line)."""
        self.process.terminate()
        shown = self.process.communicate()[0]
        return [tuple(line.split(": ")) for line in shown.splitlines() if line.startswith("port")]


def block(text, begin):
    """The first fenced block that has `begin` in it."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return next(found for found in blocks if begin in found)


def run(work):
    ended = subprocess.run(
        ["./first"], cwd=work, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr


def check(what, is_good, shown):
    print(what)
    if not is_good:
        sys.exit(f"it was not so: {shown}")


def main():
    readme, receivers, work, *compiler = sys.argv[1:]
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    servers = Servers(receivers, ["0", "0", "0"])
    ports = servers.ports
    conf = block(text, "[UPSTREAM]")
    assert conf.count("port ") == 3, "the first upstream file of the README has three nodes"
    for port in ports:
        conf = re.sub(r"port  [0-9]{5}\n", f"port {port}\n", conf, count=1)
    with open(os.path.join(work, "nodes.conf"), "w", encoding="utf-8") as file:
        file.write(conf)
    with open(os.path.join(work, "first.c"), "w", encoding="utf-8") as file:
        file.write(block(text, "int main"))
    first, source = os.path.join(work, "first"), os.path.join(work, "first.c")
    place = compiler.index("{}")
    compiler[place:place + 1] = [source, "-o", first]
    subprocess.run(compiler, check=True)

    status, told = run(work)
    came = servers.end()
    wanted = [(f"port {ports[i % 3]}", f"line {i + 1}") for i in range(9)]
    in_turn = sorted(came) == sorted(wanted)
    check("nine lines over three servers, in turn", status == 0 and in_turn, (status, told, came))

    servers = Servers(receivers, [ports[0], ports[2]])
    status, told = run(work)
    came = servers.end()
    all_there = sorted(line for _, line in came) == sorted(line for _, line in wanted)
    check("one server missing: all at the others", status == 0 and all_there, (status, told, came))

    status, told = run(work)
    is_told = told.count("line ") >= 9
    check("no server: an error for each line, status 1", status == 1 and is_told, (status, told))


if __name__ == "__main__":
    main()
