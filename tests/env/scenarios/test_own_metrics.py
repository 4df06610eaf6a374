"""Metrics of one's own: per user, in info, records, results, tables and charts."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import owo_agents
from owo_env.scenarios.split_learning import SplitLearning, Task

SLOTS = 3


def rms(outputs, labels):
    return (outputs - labels).square().mean().sqrt()


def top_two(outputs, labels):
    return float((outputs.topk(2).indices == labels[:, None]).any(dim=1).float().mean())


class Mixed(SplitLearning):
    """A classification beside a regression, on one encoder."""

    def __init__(self, num_slots: int = SLOTS, metrics=None):
        x = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
        classes, number = (x.sum(dim=1) > 0).long() + (x[:, 0] > 1).long(), x[:, :1] * 3
        split = [TensorDataset(x[:100], y[:100]) for y in (classes, number)]
        held = [TensorDataset(x[100:], y[100:]) for y in (classes, number)]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
            heads = [nn.Linear(8, 3), nn.Linear(8, 1)]
        super().__init__(
            encoder,
            heads,
            [[Task(train, held)] for train, held in zip(split, held)],
            loss=[F.cross_entropy, F.mse_loss],
            l_max=[1.5, 12.0],
            utility_bounds=([0.5, 4.0], [1.5, 12.0]),
            head_learning_rate=[0.1, 0.02],
            num_slots=num_slots,
            metrics=metrics or {"rms": [None, rms], "top_two": [top_two, None]},
        )


def played(rounds=2, **settings):
    env = gym.make("AIRAN-FairMTL-v0", scenario=Mixed(**settings))
    return env, list(owo_agents.play(env, owo_agents.make("owo-fmtl", env), rounds, seed=0))


def test_a_metric_is_of_all_validation_data_at_once_and_nan_where_it_means_nothing():
    env, records = played()
    stream = env.unwrapped._stream
    x, y = stream.users.tasks[1].validation.tensors
    with torch.no_grad():
        outputs = stream.users.heads.heads[1](stream.server.encoder(x))
    told = records[-1].extras
    assert told["validation_rms"][1] == pytest.approx(float(rms(outputs, y)), rel=1e-6)
    assert np.isnan(told["validation_rms"][0]) and np.isnan(told["validation_top_two"][1])
    assert told["validation_loss"][1] == pytest.approx(told["validation_rms"][1] ** 2, rel=1e-5)
    assert 0.5 < told["validation_top_two"][0] <= 1


def test_accuracy_stays_where_one_user_regresses():
    accuracy = played()[1][-1].extras["validation_accuracy"]
    assert 0 < accuracy[0] <= 1 and np.isnan(accuracy[1])


def test_tables_and_charts_have_them(tmp_path):
    results = owo_agents.bench(
        ["owo-fmtl", "cws"], scenarios=[Mixed], rounds=3, seeds=2, jobs=1, folder=tmp_path
    )
    assert not results.errors
    titles = {metric.title for board in results.boards for metric in board.metrics}
    assert {"validation rms user 2", "validation top two user 1"} <= titles
    assert {"validation accuracy user 1", "validation loss user 2"} <= titles
    assert not titles & {"validation rms user 1", "validation accuracy user 2"}
    from owo_agents.benchmark.report import charts

    chart = charts.MAKERS["validation"](results.boards[0])
    shown = {(panel.title, panel.y_label) for panel in chart.panels}
    assert ("user 2", "validation rms") in shown and ("user 1", "validation rms") not in shown


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda o, y: 1 / 0, "metric 'mine' of user 0 in round 1 fails .ZeroDivisionError"),
        (lambda o, y: o, r"gives an array of shape \(500, 3\): must be a number"),
        (lambda o, y: "much", "gives 'much': must be a number"),
        (lambda o, y: None, "gives None: must be a number"),
    ],
)
def test_a_bad_metric_is_named_with_its_user_and_round(metric, message):
    with pytest.raises((ValueError, owo_agents.AgentError), match=message):
        played(rounds=1, metrics={"mine": metric})


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"loss": rms}, "'loss' must be an identifier, and none of"),
        ({"my metric": rms}, "must be an identifier"),
        ({"mine": [rms]}, "has 1: must be one, or one a user, 2"),
        ({"mine": [rms, 3]}, r"metrics\['mine'\]\[1\]=3: must be a function"),
        ([rms], "must be a mapping"),
    ],
)
def test_what_is_no_metric_is_refused_at_once(metrics, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Mixed(metrics=metrics)
