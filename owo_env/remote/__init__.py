"""Users as real processes: split learning over a real link, gRPC with TLS.

:func:`join` takes part in a running server's rounds with data of one's own; ``owo serve`` and
``owo join`` are the commands, :class:`Hosted` a server's scenario without data.
"""

from __future__ import annotations

from owo_env.extras import pip_line

try:
    import cryptography as _cryptography  # noqa: F401
    import google.protobuf as _protobuf  # noqa: F401
    import grpc as _grpc  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"users elsewhere need {error.name}, gRPC and its like: {pip_line('remote')}"
    ) from error

from owo_env.remote.client import RemoteError
from owo_env.remote.hosted import Hosted
from owo_env.remote.join import Joined, join

__all__ = ["Hosted", "Joined", "RemoteError", "join"]
