"""What was written before is read, or refused by name; never misread."""

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import owo_agents
from owo_agents.benchmark.figures.metrics import metrics_of
from owo_agents.benchmark.run.results import Store
from owo_agents.benchmark.suite import manifest
from owo_agents.playing import checkpoint

BEFORE = Path(__file__).parent / "before"
KEY = "68c8288a16352e858e13"


def test_a_result_of_before_is_read_with_all_its_figures(tmp_path):
    """Written by a version whose problems did not say l_max, when NMSE was the scenario's."""
    store = Store(tmp_path)
    shutil.copy(BEFORE / f"{KEY}.json", tmp_path / "cells")
    assert store.tidy([KEY]) == []
    result = store.load([KEY])[KEY]
    figures = {metric.key: metric.of(result) for metric in metrics_of([result])}
    assert figures["regret"] == pytest.approx(np.mean(result.regret))
    classes = result.extras["user_class"]
    edge = result.utilities[classes == "edge"].mean()
    assert figures["nmse_db edge"] == pytest.approx(10 * np.log10(1.25 - edge))


def test_a_checkpoint_of_before_is_refused_by_its_format():
    env = gym.make("AIRAN-FairMTL-v0", num_slots=2)
    agent = owo_agents.make("owo-fmtl", env)
    with pytest.raises(ValueError, match="has checkpoint format 1: this version reads 3"):
        checkpoint.load(BEFORE / "checkpoint.safetensors", {"a": 1}, env, agent)


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a results folder"):
        manifest.read(tmp_path)
