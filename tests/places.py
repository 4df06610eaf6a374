"""Where things lie that tests look at."""

from pathlib import Path

TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
FULL_MNIST = REPOSITORY.parent / "shared" / "data"
