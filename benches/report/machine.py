"""The machine and the tools that the figures were taken with."""

import datetime
import os
import platform
import re
import subprocess


def first_line(*command):
    try:
        return (
            subprocess.run(command, capture_output=True, text=True, check=True)
            .stdout.splitlines()[0]
            .strip()
        )
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "not found"


def processor():
    with open("/proc/cpuinfo") as file:
        found = re.search(r"^model name\s*:\s*(.+)$", file.read(), re.M)
    return found.group(1) if found else platform.machine()


def distribution():
    return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")


def facts():
    """Pairs of what and which."""
    return [
        ("taken on", datetime.date.today().isoformat()),
        (
            "processor",
            f"{processor()}, {os.cpu_count()} cores,"
            f" {'virtual' if is_virtual() else 'not virtual'}",
        ),
        (
            "system",
            f"{distribution()}, Linux {platform.release()}, {' '.join(platform.libc_ver())}",
        ),
        ("compilers", f"{first_line('rustc', '--version')}; {first_line('cc', '--version')}"),
        ("OpenSSL", first_line("openssl", "version")),
    ]


def is_virtual():
    with open("/proc/cpuinfo") as file:
        return re.search(r"^flags.*\bhypervisor\b", file.read(), re.M) is not None
