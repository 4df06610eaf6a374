"""The server's side of the link: a seat for each user, who sits in it, and what they say.

The thread that plays the rounds posts messages and collects answers; each user's stream is served
by threads of its own, which only carry messages to and from its seat. All that both touch is
guarded by one condition.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from owo_env.remote.credentials import Credentials
from owo_env.remote.protocol import METHOD, TOKEN, VERSION, Down, Key, Message, Up, read
from owo_env.remote.seat import Line, Refused, Seat

MOST_WAITING = 16  # messages of a user that nobody has read: more are out of turn
PATIENT = 60.0  # seconds for which a joining user waits until the first round is to be opened
PING_MS, PONG_MS = 10_000, 10_000  # keepalive: after both, a line that is silent is dead


class Seats:
    """The seats of K users behind a port.

    Args:
        credentials: The server's, with a token for each user.
        listen: ``host:port``; port 0 takes a free one.
        welcome: Fields of ``Welcome`` that are the same for all.
        run: What users' private parts are said to be of.
        limit: Of a message, in bytes.
        deadline: Seconds that a user has for an answer.
        tell: Hears who comes and goes.

    Attributes:
        seats: K.
        address: ``host:port`` as it is.
        changed: Guards everything.

    Raises:
        OSError: The port cannot be had.
    """

    def __init__(
        self,
        credentials: Credentials,
        listen: str,
        welcome: Mapping[str, Any],
        run: str,
        limit: int,
        deadline: float,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.seats = [Seat(k, token) for k, token in enumerate(credentials.tokens)]
        self.changed = threading.Condition()
        self.deadline, self.run, self.tell = deadline, run, tell
        self._incarnation = secrets.token_hex(8)
        self._welcome = {**welcome, "version": VERSION, "incarnation": self._incarnation}
        self._round = 0  # that is open, or is to be; 0 before that is known
        self._closed = False
        self._silent: set[int] = set()  # who is waited for, and has said nothing since
        streams = 2 * len(self.seats) + 4
        self._pool = ThreadPoolExecutor(streams, thread_name_prefix="owo-seat")
        self._listeners: set[threading.Thread] = set()
        self._server = grpc.server(
            self._pool,
            handlers=[_Method(self._serve)],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", streams),
                ("grpc.keepalive_time_ms", PING_MS),
                ("grpc.keepalive_timeout_ms", PONG_MS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_MS // 2),
                ("grpc.http2.max_pings_without_data", 0),
                ("grpc.http2.max_ping_strikes", 0),
            ],
        )
        pair = (credentials.key, credentials.certificate)
        host, _, _ = listen.rpartition(":")
        try:
            port = self._server.add_secure_port(listen, grpc.ssl_server_credentials([pair]))
        except RuntimeError as error:
            self._pool.shutdown()
            raise OSError(f"--listen {listen!r}: the address cannot be had ({error})") from None
        self.address = f"{host}:{port}"
        self._server.start()

    # -- the thread that plays ---------------------------------------------------------------------

    def stop(self, reason: str | None = None) -> None:
        """End all streams and free the port; with a ``reason`` users hear that the run is over."""
        with self.changed:
            self._closed = True
            for seat in self.seats:
                if seat.line is not None:
                    if reason is not None:
                        seat.line.put(_bytes(finished=dict(reason=reason)))
                    seat.line.end()
            self.changed.notify_all()
        self._server.stop(2.0).wait()
        self._pool.shutdown()
        for thread in list(self._listeners):
            thread.join()

    def open_round(self, number: int, seed: int, fresh: bool) -> None:
        """Tell everybody of a round; who joins later hears of it too."""
        opened = dict(round=number, seed=str(seed), fresh=fresh)
        with self.changed:
            self._round = number
            for seat in self.seats:
                seat.opening, seat.script = _bytes(round_opened=opened), []
                seat.inbox.clear()
                if seat.line is not None:
                    seat.line.put(seat.opening)
            self.changed.notify_all()

    def wait(self, ready: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until that is so; whether it is.

        Raises:
            RuntimeError: The port was closed meanwhile.
        """
        with self.changed:
            found = self.changed.wait_for(lambda: self._closed or ready(), seconds)
            if self._closed:
                raise RuntimeError("the port was closed")
            return found

    def ready(self, seat: Seat) -> bool:
        """Whether its user is to be asked for the next slot of the open round."""
        return seat.opened == self._round and not seat.late and seat.gone is None

    def waits(self, seat: Seat) -> bool:
        """Whether its user is waited for, and has not opened the round yet."""
        return seat.opened < self._round and not seat.late and seat.gone is None

    def collect(
        self, users: Iterable[int], kinds: Sequence[str], expected: Key
    ) -> dict[int, Message]:
        """What users answer, by user; who does not in time is late, who has left is not waited for.

        Args:
            users: Who was asked.
            kinds: Kinds of messages that are answers.
            expected: What they are of.
        """
        found: dict[int, Message] = {}
        waiting, until = list(users), time.monotonic() + self.deadline
        with self.changed:
            while True:
                for seat in [self.seats[k] for k in waiting]:
                    if (message := seat.said(kinds, expected)) is not None:
                        found[seat.user] = message
                waiting = [k for k in waiting if k not in found and self.seats[k].gone is None]
                left, self._silent = until - time.monotonic(), set(waiting)
                if not waiting or left <= 0:
                    break
                self.changed.wait(left)
            self._silent = set()
            for seat in [self.seats[k] for k in waiting]:
                seat.forget(lambda k: k == expected)
                self.late(seat)
        return found

    def late(self, seat: Seat) -> None:
        """Wait for a user no more, until it speaks."""
        seat.late = True
        what = "is silent" if seat.line is not None else "is not back"
        self.tell(f"user {seat.user + 1} {what} after {self.deadline:g} s")

    def refuse(self, user: int, why: str) -> None:
        """End a user's stream for what it said."""
        with self.changed:
            seat = self.seats[user]
            if seat.line is not None:
                self._unseat(seat, seat.line, why)

    # -- the threads of the streams ----------------------------------------------------------------

    def _serve(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """A user's stream."""
        try:
            seat = self._known(dict(context.invocation_metadata()))
            line = self._seated(seat, next(requests, b""))
        except Refused as error:
            context.abort(error.code, str(error))
        except Exception:  # the user went while it spoke
            return
        context.add_callback(line.end)
        listener = threading.Thread(target=self._listen, args=(seat, line, requests), daemon=True)
        self._listeners.add(listener)
        listener.start()
        yield from line.messages()
        self._left(seat, line)
        if line.refused is not None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, line.refused)

    def _known(self, metadata: Mapping[str, Any]) -> Seat:
        user, _, secret = str(metadata.get(TOKEN, "")).partition("-")
        named = [seat for seat in self.seats if user == str(seat.token.user)]
        # A stranger's secret is compared as well: a seat's number shows in no time.
        if not self.seats[0 if not named else named[0].user].token.opens(secret) or not named:
            what = "no token" if not secret else "a token that opens no seat here"
            self.tell(f"somebody came with {what}")
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, f"the call has {what}")
        return named[0]

    def _seated(self, seat: Seat, content: bytes) -> Line:
        """Let a user sit down.

        Raises:
            Refused: It may not.
        """
        try:
            first = read(Up, content)
        except ValueError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        if first.kind != "join":
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{first.kind} is said before join")
        join = first.content
        with self.changed:
            if not self.changed.wait_for(lambda: self._round or self._closed, PATIENT):
                raise Refused(grpc.StatusCode.UNAVAILABLE, "the server is not ready yet")
            if self._closed:
                raise Refused(grpc.StatusCode.UNAVAILABLE, "the server is going")
            forget = self._admitted(seat, join)
            if seat.line is not None:
                self._unseat(seat, seat.line, None)
            line = Line(join.instance)
            line.put(_bytes(welcome={**self._welcome, "user": seat.user, "run": self.run,
                                     "forget": forget}))  # fmt: skip
            line.put(seat.opening)
            for _, sent in seat.script:
                line.put(sent)
            seat.line, seat.late, seat.gone = line, seat.late or seat.gone is not None, None
            if forget:
                seat.heard, seat.began_again = (0, 0), seat.began_again + 1
            self.tell(f"user {seat.user + 1} is there")
        return line

    def _admitted(self, seat: Seat, join: Any) -> bool:
        """Whether a user, who may sit down, has to begin with new private parts.

        Raises:
            Refused: It may not.
        """
        state, who = join.state, f"user {seat.user + 1}"

        def refuse(text: str, code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION) -> None:
            raise Refused(code, text)

        if join.version != VERSION:
            refuse(f"protocol version {join.version}: this server speaks {VERSION}")
        if seat.line is not None and seat.line.instance != join.instance:
            refuse(f"the seat of {who} is taken by another process", grpc.StatusCode.ALREADY_EXISTS)
        if join.start_again:
            return True
        there = f"round {state.round}, slot {state.slot} of run {state.run}"
        heard = f"round {seat.heard[0]}, slot {seat.heard[1]} of run {self.run}"
        again = "its own file, or --start-again for new private parts"
        if not state.run:
            if seat.heard != (0, 0):
                refuse(f"{who} has no state, and was heard until {heard}: give {again}")
        elif state.run != self.run:
            refuse(f"the state of {who} is of {there}, and this is run {self.run}: give {again}")
        elif (state.round, state.slot) < seat.heard:
            refuse(f"the state of {who} is of {there}, older than {heard}: give {again}")
        elif state.opened > self._round:
            refuse(
                f"the state of {who} is of round {state.opened} of run {state.run}, and the server "
                f"has gone back to round {self._round}: give {again}"
            )
        return False

    def _listen(self, seat: Seat, line: Line, requests: Iterator[bytes]) -> None:
        """Carry what a user says to its seat, until it goes."""
        try:
            for content in requests:
                message = read(Up, content)
                with self.changed:
                    if seat.line is not line:
                        return
                    self._take(seat, message)
                    self._silent.discard(seat.user)
                    if not self._silent:  # to wake for each user would keep the rest from speaking
                        self.changed.notify_all()
        except ValueError as error:
            with self.changed:
                self._unseat(seat, line, str(error))
        except Exception:  # whatever gRPC calls a stream that broke
            pass
        finally:
            self._left(seat, line)
            self._listeners.discard(threading.current_thread())

    def _take(self, seat: Seat, message: Message) -> None:
        """A message of a user.

        Raises:
            ValueError: It is out of turn.
        """
        seat.late = False
        kind, content = message.kind, message.content
        if kind == "opened":
            if content.round == self._round:
                seat.opened, seat.validation = self._round, content.validation
            return
        if kind == "leave":
            seat.gone = content.reason or "it left"
            if seat.line is not None:
                seat.line.end()
            return
        if kind == "join" or len(seat.inbox) >= MOST_WAITING:
            raise ValueError(f"{kind} is out of turn")
        seat.inbox.append(message)

    def _left(self, seat: Seat, line: Line) -> None:
        with self.changed:
            self._unseat(seat, line, None)

    def _unseat(self, seat: Seat, line: Line, why: str | None) -> None:
        """End a line, and free the seat if it is still that line's."""
        line.end(why)
        if seat.line is line:
            seat.line = None
            seat.inbox.clear()
            if why is not None:
                seat.gone = why
            if not self._closed:
                why = f": {seat.gone}" if seat.gone else ""
                self.tell(f"user {seat.user + 1} is away{why}")
            self.changed.notify_all()


class _Method(grpc.GenericRpcHandler):
    """The one method; messages are read by ourselves, so that errors can be said in words."""

    def __init__(self, serve: Callable[[Iterator[bytes], Any], Iterator[bytes]]) -> None:
        self._handler = grpc.stream_stream_rpc_method_handler(serve)

    def service(self, details: Any) -> Any:
        """The handler of a call; None is answered as unimplemented."""
        return self._handler if details.method == METHOD else None


def _bytes(**what: Any) -> bytes:
    content: bytes = Down(**what).SerializeToString()
    return content
