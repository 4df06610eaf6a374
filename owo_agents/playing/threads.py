"""One thread, wherever figures are made."""

import contextlib
from collections.abc import Iterator

import threadpoolctl


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within, BLAS and torch use one thread: workers don't fight, and bits don't change."""
    import torch  # here, since who only lists, checks or reports would wait a second for it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
