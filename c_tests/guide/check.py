#!/usr/bin/env python3
"""check.py PAGE -- COMPILER...: build each block of C in PAGE and run it.

Each is a program that takes an upstream file and a number of lines. Of its three nodes one refuses;
every line must come to one of the two others once, and its exit status must be 0. With all nodes
gone it must be 1, with no file 2. Beside nodes that answer nonsense, hang up or are silent, every
line must come to the healthy one. With `deliver.resend off`, nodes that store and never answer must
get each line once in all, and the exit status must be 1. The compiler gets `SOURCE -o PROGRAM` in
place of an argument that is "{}".
"""

import collections
import re
import socket
import subprocess
import sys
import tempfile
import threading

LINES = 40


class Server:
    """Takes lines on a free port, counts each, answers. None is silent, "" hangs up."""

    def __init__(self, counts, answer="ok\n"):
        self.counts = counts
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            conn, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        with conn, conn.makefile("rwb", buffering=0) as stream:
            for line in iter(stream.readline, b""):
                self.counts[line.decode().rstrip("\n"), self.port] += 1
                if self.answer == "":
                    return
                if self.answer is not None:
                    stream.write(self.answer.encode())


def refusing_port():
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken, taken.getsockname()[1]


def upstream_file(folder, name, ports, keys=""):
    path = f"{folder}/{name}.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"[UPSTREAM]\n    name guide\n{keys}")
        for number, port in enumerate(ports):
            file.write(f"[NODE]\n    name node-{number}\n    host 127.0.0.1\n    port {port}\n")
    return path


def check_sick_nodes(name, program, folder):
    """The others stay in the rotation, so that they are met again and again."""
    good, sick = collections.Counter(), collections.Counter()
    servers = [Server(sick, "eh\n"), Server(sick, ""), Server(good), Server(sick, None)]
    keys = "    net.io_timeout 100ms\n    health.backoff 1ms\n    health.backoff_max 1ms\n"
    path = upstream_file(folder, "sick", [server.port for server in servers], keys)
    status = subprocess.run([program, path, "5"], stderr=subprocess.DEVNULL, timeout=60).returncode
    assert status == 0, f"{name} ended with {status} beside sick nodes"
    lines = collections.Counter(line for line, _ in good.elements())
    expected = 5 * (4 if name == "threads" else 1)
    assert lines == collections.Counter(f"line {i}" for i in range(expected)), f"{name}: {lines}"


def check_at_most_once(name, program, folder):
    counts = collections.Counter()
    servers = [Server(counts, None), Server(counts, None)]
    keys = "    net.io_timeout 100ms\n    deliver.resend off\n    health.max_fails 1000\n"
    path = upstream_file(folder, "once", [server.port for server in servers], keys)
    status = subprocess.run([program, path, "2"], stderr=subprocess.DEVNULL, timeout=60).returncode
    assert status == 1, f"{name} ended with {status} though nothing was confirmed"
    lines = collections.Counter(line for line, _ in counts.elements())
    expected = 2 * (4 if name == "threads" else 1)
    assert lines == collections.Counter(f"line {i}" for i in range(expected)), f"{name}: {lines}"


def check(block, number, folder, compiler):
    name = block.split(None, 2)[1]  # "/* NAME FILE LINES: ..."
    source, program = f"{folder}/{number}.c", f"{folder}/{name}"
    with open(source, "w", encoding="utf-8") as file:
        file.write(block)
    command = []
    for part in compiler:
        command += [source, "-o", program] if part == "{}" else [part]
    subprocess.run(command, check=True)

    counts = collections.Counter()
    servers = [Server(counts), Server(counts)]
    kept, refusing = refusing_port()
    up = upstream_file(folder, "up", [servers[0].port, refusing, servers[1].port])
    down = upstream_file(folder, "down", [refusing])
    command = [program, up, str(LINES)]
    status = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60).returncode
    assert status == 0, f"{name} ended with {status}"
    lines = collections.Counter(line for line, _ in counts.elements())
    expected = LINES * (4 if name == "threads" else 1)
    assert lines == collections.Counter(f"line {i}" for i in range(expected)), f"{name}: {lines}"
    shares = [
        sum(n for (_, port), n in counts.items() if port == server.port) for server in servers
    ]
    assert min(shares) > 0, f"{name}: {shares}"
    for arguments, wanted in (([down, "1"], 1), ([f"{folder}/none.conf", "1"], 2)):
        command = [program, *arguments]
        status = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=60).returncode
        assert status == wanted, f"{name} ended with {status}, not {wanted}"
    check_sick_nodes(name, program, folder)
    check_at_most_once(name, program, folder)
    kept.close()
    print(f"{name}: {expected} lines, shared {shares[0]} and {shares[1]}")


def main():
    separator = sys.argv.index("--")
    with open(sys.argv[1], encoding="utf-8") as page:
        blocks = re.findall(r"^```c\n(.*?)^```", page.read(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3, f"{len(blocks)} blocks of C"
    with tempfile.TemporaryDirectory(prefix="upstream-guide.") as folder:
        for number, block in enumerate(blocks):
            check(block, number, folder, sys.argv[separator + 1 :])


if __name__ == "__main__":
    main()
