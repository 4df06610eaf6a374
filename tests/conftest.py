"""Beside the tests lie ``bench_helpers`` and ``places``, which every folder imports."""
