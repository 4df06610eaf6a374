"""Beside the tests lie ``bench_helpers``, ``browsing``, ``places``, which every folder imports."""

import pytest
from browsing import CHROMIUM, Browser

NO_ECOS = "Nash-MTL's solver, ecos, has no wheels for Python 3.13 and later"


@pytest.fixture
def browser(tmp_path):
    """A real browser; without one the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    return Browser(tmp_path)


@pytest.fixture(autouse=True)
def nash_where_its_solver_is(request):
    given = getattr(getattr(request.node, "callspec", None), "params", {}).values()
    if "nash-mtl" in [value for value in given if isinstance(value, str)]:
        pytest.importorskip("ecos", reason=NO_ECOS)
