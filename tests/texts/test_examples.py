"""The scripts in examples/ run as they are."""

import runpy

import pytest
from places import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


@pytest.mark.slow
def test_three_losses_on_one_encoder(capsys):
    ran = runpy.run_path(str(EXAMPLES / "mixed_losses.py"), run_name="__main__")
    assert set(ran["last"]) == {"owo-adaptive", "owo-fmtl", "cws", "srl"}
    assert "user 2: validation loss" in capsys.readouterr().out
