#!/usr/bin/env python3
"""first.py README RECEIVERS WORK CC FLAGS...: does the first program of the README do what it says there?

Builds the program, runs it with the README's upstream file against RECEIVERS (scripts/receivers),
whose ports take the place of the README's, and fails unless the lines came to the nodes in turn.
With one server missing the others must get all lines; without any the program must say so.
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
    return next(b for b in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if begin in b)


def run(work):
    # The library's folder was given to the compiler; the program asks for no other.
    ended = subprocess.run(["./first"], cwd=work, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
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
    subprocess.run([arg for a in compiler for arg in ([source, "-o", first] if a == "{}" else [a])], check=True)

    status, told = run(work)
    came = servers.end()
    wanted = [(f"port {ports[i % 3]}", f"line {i + 1}") for i in range(9)]
    check("nine lines over three servers, in turn", (status, sorted(came)) == (0, sorted(wanted)), (status, told, came))

    servers = Servers(receivers, [ports[0], ports[2]])
    status, told = run(work)
    came = servers.end()
    lines = sorted(line for _, line in came)
    check("one server missing: all lines at the others", status == 0 and lines == sorted(l for _, l in wanted),
          (status, told, came))

    status, told = run(work)
    check("no server: an error and status 1", status == 1 and told.count("line ") >= 9, (status, told))


if __name__ == "__main__":
    main()
