"""records.py SENDER RECEIVER: records for each second of processor time of the example that speaks
Forward, over three receivers.

Every record must be delivered, or there is no figure. The receivers' time is not counted; they
share the machine.
"""

import json
import pathlib
import resource
import subprocess
import sys
import tempfile

LINES, WIDTH, ROUNDS = 1_000_000, 100, 3


def receiver(program, name):
    process = subprocess.Popen(
        [program, "--no-stdin", "--name", name], stdout=subprocess.PIPE, text=True
    )
    ready = process.stdout.readline()
    if "port=" not in ready:
        sys.exit(f"records: {name} did not start; it said {ready!r}")
    return process, ready.split("port=")[1].split()[0]


def measure(sender, upstream, log, options):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sender, "-q", "-u", upstream, "-t", "bench", *options, log],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return LINES / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main():
    sender, program = sys.argv[1:]
    receivers = [receiver(program, f"node-{number}") for number in (1, 2, 3)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            log, upstream = pathlib.Path(folder, "log"), pathlib.Path(folder, "upstream.conf")
            log.write_text(
                "".join(f"{number} ".ljust(WIDTH - 1, "x") + "\n" for number in range(LINES))
            )
            nodes = "".join(
                f"[NODE]\n    name n{port}\n    host 127.0.0.1\n    port {port}\n"
                for _, port in receivers
            )
            upstream.write_text(f"[UPSTREAM]\n    name bench\n    require_ack_response on\n{nodes}")
            for what, options in (("Forward", []), ("PackedForward", ["--packed"])):
                best = max(measure(sender, upstream, log, options) for _ in range(ROUNDS))
                print(
                    json.dumps(
                        {
                            "suite": "records",
                            "case": f"{what}, acknowledged",
                            "who": "libupstream",
                            "value": round(best),
                            "unit": "records/CPU s",
                            "note": f"{LINES:,} lines of {WIDTH} bytes, 500 a message;"
                            f" best of {ROUNDS}",
                        }
                    )
                )
    finally:
        for process, _ in receivers:
            process.kill()
            process.wait()


main()
