"""A server and two users as processes of this machine: ``make remote``.

The server hosts the encoder of rainbow-mnist, each user has its digits, labels and head.
"""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

OWO = str(Path(sys.executable).with_name("owo"))
FOLDER, ADDRESS, ROUNDS = Path("results/remote"), "127.0.0.1:7411", "2"


def main(users: tuple[str, ...] = ("1", "2")) -> int:
    with contextlib.ExitStack() as running:

        def start(*words: str) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen([OWO, *words])
            running.callback(process.wait)
            running.callback(process.terminate)
            return process

        server = start("serve", "--rounds", ROUNDS, "--listen", ADDRESS, "--out", str(FOLDER))
        joined = []
        for user in users:
            token = FOLDER / "seats" / f"user-{user}.token"
            while not token.exists():
                if server.poll() is not None:
                    return server.returncode
                time.sleep(0.1)
            state = FOLDER / f"user-{user}.safetensors"
            state.unlink(missing_ok=True)  # of a run before
            words = "--user", user, "--token-file", str(token), "--state", str(state)
            joined.append(start("join", ADDRESS, *words))
        return max(process.wait() for process in (server, *joined))


if __name__ == "__main__":
    sys.exit(main())
