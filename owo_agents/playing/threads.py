"""One thread and one default type, wherever figures are made."""

import contextlib
from collections.abc import Iterator

import threadpoolctl


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within, BLAS and torch use one thread: workers don't fight, and bits don't change.

    Nor do they by torch's default type, which is float32 within, whatever it is outside.
    """
    import torch  # here, since who only lists, checks or reports would wait a second for it

    before, kind = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    try:
        with threadpoolctl.threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_default_dtype(kind)
