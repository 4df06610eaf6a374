"""Servers, users, strangers and bad lines, for tests of users elsewhere."""

import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import gymnasium as gym
import numpy as np

import owo_agents
import owo_env
from owo_env.remote import credentials
from owo_env.remote.join import join_shipped
from owo_env.remote.protocol import METHOD, TOKEN, VERSION, Down, Up, read
from owo_env.remote.serving import served

ID = "AIRAN-FairMTL-v0"
SMALL = dict(num_slots=4, batch_size=8)


def rounds_of(scenario, rounds, seed=3, **settings):
    """The records, and the stream at the end."""
    env = gym.make(ID, scenario=scenario, **settings)
    agent = owo_agents.make("owo-fmtl", env)
    return list(owo_agents.play(env, agent, rounds, seed)), env.unwrapped._stream


def equal(local, remote):
    """The records of a run in one process and of one over a link, bit for bit."""
    assert len(local) == len(remote)
    for a, b in zip(local, remote):
        for name in ("round", "fairness", "utilities", "weights", "model"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), (a.round, name)
        for name, value in a.extras.items():
            assert np.array_equal(value, b.extras[name]), (a.round, name)


class Server:
    """A server whose rounds are played in a thread, and users of this process beside it."""

    def __init__(
        self, folder, users=2, rounds=2, deadline=20.0, run="a-run", scenario=None, **settings
    ):
        self.folder, self.users, self.rounds = folder, users, rounds
        self.settings = {**SMALL, "num_users": users, **settings}
        self.credentials = credentials.made(users)
        self.told, self.joined, self.errors = [], {}, {}
        made = scenario or owo_env.make_scenario("rainbow-mnist", **self.settings)
        self._stack = contextlib.ExitStack()
        self.remote = self._stack.enter_context(
            served(
                made, self.credentials, "127.0.0.1:0", run=run, deadline=deadline,
                settings=self.settings, tell=self.told.append,
            )
        )  # fmt: skip
        self.address, self.records, self._threads = self.remote.address, [], []
        self._player = self._started(self._play)

    def _started(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        return thread

    def _play(self):
        env = gym.make(ID, scenario=self.remote)
        agent = owo_agents.make("owo-fmtl", env)
        try:
            for record in owo_agents.play(env, agent, self.rounds, 3):
                self.records.append(record)
        except Exception as error:
            self.errors["server"] = error

    def token(self, user):
        """Of a user, from 1."""
        return self.credentials.tokens[user - 1]

    def join(self, *users, address=None, **options):
        """Let users take part, each in a thread."""
        for user in users:
            given = {"state": self.folder / f"user-{user}.safetensors", **options}
            where = address or self.address, self.token(user).line
            self.take(lambda user, w=where, g=given: join_shipped(*w, {}, **g), user)

    def take(self, take_part, *users):
        """The same by any function of the user."""
        for user in users:
            self._threads.append(self._started(self._take_part, user, take_part))

    def _take_part(self, user, take_part):
        try:
            self.joined[user] = take_part(user)
        except Exception as error:
            self.errors[user] = error

    def finish(self, seconds=60):
        """Wait for the last round, and end; what failed unexpectedly fails here."""
        self._player.join(seconds)
        assert not self._player.is_alive(), f"still playing: {self.told}"
        if "server" in self.errors:
            raise self.errors["server"]
        self.remote.over = "the run is over"
        self.close()
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive()

    def until(self, text, seconds=30):
        """Wait until the server has told that."""
        wait_for(lambda: any(text in one for one in self.told), seconds, lambda: self.told)

    def close(self):
        self._stack.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def wait_for(ready, seconds=30, why=lambda: ""):
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, why()
        time.sleep(0.01)


class Stranger:
    """A client that says what it likes."""

    def __init__(self, address, token, secret=None):
        host, port = address.rsplit(":", 1)
        pem = credentials.pinned(host, int(port), token, 10)
        self.channel = grpc.secure_channel(
            address, grpc.ssl_channel_credentials(pem),
            options=[
                ("grpc.ssl_target_name_override", credentials.NAME),
                ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )  # fmt: skip
        self._waiting, self._said = [], threading.Semaphore(0)
        secret = f"{token.user}-{token.secret}" if secret is None else secret
        metadata = [(TOKEN, secret)] if secret else []
        call = self.channel.stream_stream(METHOD, None, None)
        self._call = call(self._sayings(), metadata=metadata, timeout=60)

    def _sayings(self):
        while self._said.acquire() and (content := self._waiting.pop(0)) is not None:
            yield content

    def say_bytes(self, content):
        self._waiting.append(content)
        self._said.release()

    def say(self, **what):
        self.say_bytes(Up(**what).SerializeToString())

    def join(self, version=VERSION, instance="stranger", **more):
        self.say(join=dict(version=version, instance=instance, **more))

    def hear(self, kind=None):
        """The next message, or the next of a kind."""
        while True:
            message = read(Down, next(self._call))
            if kind in (None, message.kind):
                return message.content

    def refused(self):
        """How the server ends this: the code's name and the text."""
        try:
            while True:
                next(self._call)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        except StopIteration:
            return "OK", ""
        finally:
            self.close()

    def close(self):
        self.say_bytes(None)
        self._call.cancel()
        self.channel.close()


class Proxy:
    """A line between users and a server that can be cut or slow.

    Args:
        address: Of the server.
        cuts: After how many bytes of a user each connection breaks; further ones are whole.
        delay: Seconds that each piece takes, either way.
        cut: What happens then; it may kill the user, and the connection with it.
    """

    def __init__(self, address, cuts=(), delay=0.0, cut=lambda: None):
        self._target, self.cuts, self.delay = address.rsplit(":", 1), list(cuts), delay
        self._cut = cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.broken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near):
        with contextlib.suppress(OSError), near, socket.create_connection(self._target) as far:
            there = {near: far, far: near}
            carried, cut = 0, None
            while True:
                ready, _, _ = select.select([near, far], [], [], 60)
                for one in ready:
                    try:
                        piece = one.recv(1 << 14 if self.cuts else 1 << 19)
                        if self.delay:
                            time.sleep(self.delay)
                        if one is near:
                            carried += len(piece)
                            if carried > 8192 and cut is None and self.cuts:
                                cut = self.cuts.pop(0)  # a handshake is not worth one
                            if cut is not None and carried > cut:
                                there[one].sendall(piece[: len(piece) // 2])
                                self.broken += 1
                                self._cut()
                                return
                        there[one].sendall(piece)
                    except OSError:
                        return
                    if not piece:
                        return

    def close(self):
        self._listener.close()


class Nursery:
    """A process that has imported everything, and starts others at once by forking.

    It never speaks gRPC itself, so that its children may.

    Args:
        folder: Where they run.
        inside: A command that runs it somewhere, such as in a network namespace.
    """

    def __init__(self, folder, inside=()):
        self.folder = folder
        self._process = subprocess.Popen(
            [*inside, sys.executable, __file__], cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "GRPC_VERBOSITY": "NONE", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.pids = []

    def owo(self, *words, log="log.txt", die=None):
        """Run ``owo`` with these words; its pid.

        Args:
            words: Its arguments.
            log: A file for what it says.
            die: ``[round, slot, moment]``: a user kills itself there.
        """
        order = {"words": list(map(str, words)), "log": log, "die": die}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self.pids.append(int(self._process.stdout.readline()))
        return self.pids[-1]

    def ended(self, pid, seconds=60):
        """Wait until a process is gone."""
        wait_for(lambda: not alive(pid), seconds, lambda: f"{pid} is still there")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def _die_at(number, slot, moment):
    """Let this process kill itself: ``before`` what it has learned is kept, ``after``, or with
    half of it on the disk. Of a slot it keeps its ``answer``, and then ``all``; or ``all`` at once.
    """
    from owo_env.remote import keeping

    def deadly(what, write):
        def wrapped(self, kept):
            kind = what or ("answer" if kept.pending else "all")
            there = (kept.opened, kept.slot) == (number, slot) and moment.startswith(kind)
            if there and moment.endswith("before"):
                os.kill(os.getpid(), signal.SIGKILL)
            _Half.deadly = there and moment.endswith("half")
            write(self, kept)
            if there:
                os.kill(os.getpid(), signal.SIGKILL)

        return wrapped

    keeping.Disk.write = deadly("opening", keeping.Disk.write)
    keeping.Disk.write_step = deadly("", keeping.Disk.write_step)
    opened = keeping._opened
    keeping._opened = lambda path: _Half(opened(path))


class _Half:
    """A file whose writer may die in the middle."""

    deadly = False

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def write(self, content):
        if self.deadly:
            self._file.write(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return self._file.write(content)


def _child(words, log, die):
    """Be ``owo``."""
    from owo_agents.command.main import main

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout.reconfigure(line_buffering=True)
    random.seed(os.getpid())
    if die:
        _die_at(*die)
    sys.argv = ["owo", *words]
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    sys.stdout.flush()
    os._exit(code)


def _nurse():
    """Fork a child for each line."""
    import owo_agents.command.main  # noqa: F401
    from owo_env.scenarios.rainbow_mnist import load_digits
    from owo_env.scenarios.rainbow_mnist.scenario import RainbowMnist

    load_digits()
    RainbowMnist(num_slots=1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody is left as a zombie
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.close(0)
            _child(**order)
        print(pid, flush=True)


if __name__ == "__main__":
    _nurse()
