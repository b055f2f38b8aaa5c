#!/usr/bin/env python3
"""qemu-watch.py SOCKET LOG: waits at QEMU's QMP socket for the machine to reset or switch itself off.

QEMU runs with -no-reboot and -no-shutdown: it stands still then, as the CPU was. A triple fault leaves nothing else
behind, so the CPU's registers are added to LOG; then QEMU is ended. The debug-exit device ends it without us.
CAIRN_WATCH_LATE=SECONDS comes late on purpose, for the runner's tests.
"""
import json
import os
import socket
import sys
import time
from pathlib import Path

CONNECT_SECONDS = 20


def connect(path: str) -> socket.socket | None:
    deadline = time.monotonic() + CONNECT_SECONDS
    while time.monotonic() < deadline:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(path)
            return line
        except OSError:
            line.close()
            time.sleep(0.05)
    return None


def main(path: str, log: str) -> int:
    time.sleep(float(os.environ.get("CAIRN_WATCH_LATE", "0")))
    line = connect(path)
    if line is None:
        return 1
    with line, line.makefile("rw", encoding="utf-8") as file:

        def send(command: str, **arguments: str) -> None:
            file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            file.flush()

        send("qmp_capabilities")
        send("query-status")  # it may have happened before we came: then there is no event for us
        asked = False
        for text in file:
            message = json.loads(text)
            answer = message.get("return")
            stands = isinstance(answer, dict) and answer.get("status") == "shutdown"
            if (message.get("event") == "SHUTDOWN" or stands) and not asked:
                asked = True
                send("human-monitor-command", **{"command-line": "info registers"})
            elif isinstance(answer, str):
                with Path(log).open("a", encoding="utf-8") as out:
                    out.write("registers:\n" + message["return"].replace("\r", ""))
                send("quit")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (BrokenPipeError, ConnectionResetError):  # QEMU ended meanwhile
        sys.exit(0)
