"""A user's connection to the server: pinned, with a token, and made again when it breaks."""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc

from owo_env.remote.credentials import Token, name_of, pinned
from owo_env.remote.keeping import Disk
from owo_env.remote.member import DRAWING, Member
from owo_env.remote.protocol import METHOD, TOKEN, VERSION, Down, Message, Up, read
from owo_env.scenarios.split_learning.link import Setup

CONNECT = 10.0  # seconds for a handshake
FIRST, LONGEST = 0.2, 5.0  # seconds between tries
_AGAIN = {"UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED"}

Tell = Callable[[str], None]
MakeSetup = Callable[[Any], Setup]
"""What a user has, for a server's ``Welcome``."""


class RemoteError(RuntimeError):
    """The server refused this user, or was not there for too long; the message says why."""


class Broken(Exception):
    """The connection broke; the server may come back."""


class Line:
    """A connection to the server.

    Args:
        address: ``host:port``.
        token: Of the user.

    Raises:
        Broken: Nobody answers there.
        RemoteError: It is another server.
    """

    def __init__(self, address: str, token: Token) -> None:
        host, port = split_address(address)
        try:
            certificate = pinned(host, port, token, CONNECT)
        except PermissionError as error:
            raise RemoteError(str(error)) from None
        except OSError as error:
            raise Broken(str(error)) from error
        self._channel = grpc.secure_channel(
            f"{host}:{port}",
            grpc.ssl_channel_credentials(root_certificates=certificate),
            options=[
                ("grpc.ssl_target_name_override", name_of(certificate)),
                ("grpc.max_receive_message_length", -1),  # of a server that is known
                ("grpc.max_send_message_length", -1),
                ("grpc.keepalive_time_ms", 10_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self._out: SimpleQueue[bytes | None] = SimpleQueue()
        open_stream = self._channel.stream_stream(METHOD, None, None)
        metadata = [(TOKEN, f"{token.user}-{token.secret}")]
        self._call = open_stream(iter(self._out.get, None), metadata=metadata)

    def say(self, content: bytes) -> None:
        """Send a message."""
        self._out.put(content)

    def hear(self) -> Message:
        """Wait for a message.

        Raises:
            Broken: There is none any more.
            RemoteError: The server ended this.
        """
        try:
            return read(Down, next(self._call))
        except StopIteration:
            raise Broken("the server is going") from None
        except grpc.RpcError as error:
            if error.code().name in _AGAIN:
                raise Broken(error.details()) from None
            raise RemoteError(f"{error.details()} ({error.code().name})") from None

    def close(self) -> None:
        """Say what is still to be said, and end."""
        self._out.put(None)
        deadline = time.monotonic() + 1.0
        while self._call.is_active() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._call.cancel()
        self._channel.close()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``host:port``.

    Raises:
        ValueError: It is no such text.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"address={address!r}: must be HOST:PORT")
    return host.strip("[]"), int(port)


class Client:
    """A user that joins, learns, and comes back when the connection breaks.

    Args:
        address: ``host:port`` of the server.
        token: Of the user.
        setup: What the user has, once the server has said what it wants.
        path: Where its private parts are kept.
        start_again: Begin with new private parts.
        patience: Minutes for which it tries to reach the server.
        tell: Hears what happens.

    Attributes:
        member: The user, once it was welcome.
    """

    def __init__(
        self,
        address: str,
        token: Token,
        setup: MakeSetup,
        path: Path,
        start_again: bool,
        patience: float,
        tell: Tell,
    ) -> None:
        self._address, self._token, self._setup = address, token, setup
        self._again, self._patience, self._tell = start_again, patience, tell
        self._disk, self._instance = Disk(path), secrets.token_hex(8)
        self._kept = self._disk.read()
        self.member: Member | None = None
        split_address(address)

    def run(self) -> str:
        """Take part until the run is over; why it is.

        Raises:
            RemoteError: The server refused this user, or was not there for too long.
            ValueError: A task does not fit the scenario.
            OSError: The private parts cannot be kept.
        """
        try:
            return self._run()
        finally:
            self._disk.close()

    def _run(self) -> str:
        tries, since = 0, time.monotonic()
        while True:
            try:
                with self._line() as line:
                    self._tell(f"connected with {self._address} as user {self._token.user}")
                    tries = 0
                    return self._take_part(line)
            except Broken as error:
                if tries == 0:
                    since = time.monotonic()
                    self._tell(f"no server at {self._address} ({error}): trying again")
                waited = time.monotonic() - since
                if waited > 60 * self._patience:
                    raise RemoteError(
                        f"no server at {self._address} for {self._patience:g} minutes ({error}); "
                        f"{self._disk.path} is kept"
                    ) from None
                pause = min(FIRST * 2**tries, LONGEST) * random.uniform(0.5, 1.0)
                time.sleep(pause)
                tries += 1

    @contextlib.contextmanager
    def _line(self) -> Iterator[Line]:
        """A connection on which the server has said welcome."""
        line = Line(self._address, self._token)
        try:
            self._join(line)
            yield line
        finally:
            line.close()

    def _join(self, line: Line) -> None:
        kept = self.member.kept if self.member else self._kept
        names = "run", "round", "slot", "opened", "pending"
        state = {name: getattr(kept, name) for name in names}
        join = dict(version=VERSION, instance=self._instance, state=state)
        line.say(Up(join=dict(**join, start_again=self._again)).SerializeToString())
        said = line.hear()
        kind, welcome = said.kind, said.content
        if kind != "welcome" or welcome.version != VERSION:
            raise RemoteError(f"the server says {kind} of version {getattr(welcome, 'version', 0)}")
        self._again = False
        if self.member is None:
            with DRAWING:
                setup = self._setup(welcome)
            self.member = Member(setup, welcome, self._disk, self._kept)
        else:
            self.member.meet(welcome)

    def _take_part(self, line: Line) -> str:
        assert self.member is not None
        try:
            while True:
                message = line.hear()
                if message.kind == "finished":
                    return str(message.content.reason)
                self.member.do(line, message)
        except (Broken, RemoteError):
            raise
        except BaseException as error:
            reason = "" if isinstance(error, KeyboardInterrupt) else str(error)
            line.say(Up(leave=dict(reason=reason)).SerializeToString())
            raise
