"""A user's seat at the server, and the line to whoever sits in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from queue import SimpleQueue

import grpc

from owo_env.remote.credentials import Token
from owo_env.remote.protocol import Key, Message, key_of

Position = tuple[int, int]
"""A round and how many of its slots."""


class Refused(Exception):
    """A user cannot have its seat; code and text are what it is told."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Line:
    """A connection of a user, as far as the server goes on with it.

    Attributes:
        instance: Of the user's process.
        refused: Why the server ended it; None where it did not.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.refused: str | None = None
        self._out: SimpleQueue[bytes | None] = SimpleQueue()

    def put(self, content: bytes) -> None:
        """Send a message."""
        self._out.put(content)

    def end(self, refused: str | None = None) -> None:
        """Send no more."""
        self.refused = self.refused or refused
        self._out.put(None)

    def messages(self) -> Iterator[bytes]:
        """What is to be sent, until the end."""
        while (content := self._out.get()) is not None:
            yield content


class Seat:
    """A user's place, whoever sits in it.

    Attributes:
        user: From 0.
        line: Its connection; None without one.
        inbox: What it said and nobody has read yet.
        opened: The last round that it has opened in this process of the server.
        validation: How many items of validation data it has in that.
        heard: The last slot that it was heard in.
        late: Whether it has not spoken since it missed a deadline, or came back to stay.
        gone: Why it will not come back by itself; None where it may. Who is neither is waited
            for, until the deadline, also while its line is broken.
        began_again: How often it came with new private parts, since that was last told.
        script: What it was sent since its parts were last known to be on its disk, by slot, and
            which job it owes: what it needs to hear if it comes back.
    """

    def __init__(self, user: int, token: Token) -> None:
        self.user, self.token = user, token
        self.line: Line | None = None
        self.inbox: deque[Message] = deque()
        self.opened, self.validation = 0, 0
        self.heard: Position = 0, 0
        self.late = False
        self.gone: str | None = None
        self.began_again = 0
        self.opening = b""  # what it is told of the round
        self.script: list[tuple[Key, bytes]] = []

    def post(self, key: Key, content: bytes) -> None:
        """Send a message, now and again if the user comes back."""
        self.script.append((key, content))
        if self.line is not None:
            self.line.put(content)

    def said(self, kinds: Collection[str], expected: Key) -> Message | None:
        """The next message of these kinds, of that key; what is of before is lost."""
        for _ in range(len(self.inbox)):
            message = self.inbox.popleft()
            key = key_of(message.content)
            if key == expected and message.kind in kinds:
                return message
            if key > expected:  # a job asked for ahead, while held-out data are judged
                self.inbox.append(message)
        return None

    def forget(self, drop: Callable[[Key], bool]) -> None:
        """What need not be heard again."""
        self.script = [(key, content) for key, content in self.script if not drop(key)]
