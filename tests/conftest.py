"""Beside the tests lie ``bench_helpers``, ``browsing``, ``places``, which every folder imports."""

import pytest
from browsing import CHROMIUM, Browser


@pytest.fixture
def browser(tmp_path):
    """A real browser; without one the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    return Browser(tmp_path)
