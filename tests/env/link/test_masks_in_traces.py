"""Masks and SNRs that a recording holds."""

import gymnasium as gym
import numpy as np
import pytest

from owo_env.scenarios import make_scenario
from owo_env.scenarios.traces import write

ID = "AIRAN-FairMTL-v0"
SHAPE = 3, 5, 2  # rounds, slots, users
_rng = np.random.default_rng(0)
X, Y = _rng.normal(size=(*SHAPE, 2)), _rng.normal(size=SHAPE)
ACTIVE = _rng.random(SHAPE) < 0.7
HEARD = ACTIVE & (_rng.random(SHAPE) < 0.7)
SNR = _rng.normal(size=(3, 2))
SETTINGS = {"l_max": 20.0, "utility_bounds": (1.0, 20.0), "model_bounds": (-1.0, 1.0)}


def held(env):
    """The masks of three rounds."""
    masks = []
    for t in range(3):
        env.reset(seed=0 if t == 0 else None)
        masks.append(env.unwrapped.on_air()[:2])
        for _ in range(5):
            env.step({"model": np.zeros(2), "weights": np.ones(2)})
    return [np.array(mask) for mask in zip(*masks)]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_file_keeps_masks_and_snrs(tmp_path, suffix):
    made = make_scenario(
        "recorded", features=X, targets=Y, active=ACTIVE, heard=HEARD, snr_db=SNR, **SETTINGS
    )
    path = tmp_path / f"trace{suffix}"
    write(made, path, rounds=3, seed=0)
    env = gym.make(ID, scenario="recorded", trace=str(path))
    active, heard = held(env)
    assert np.array_equal(active, ACTIVE)
    assert np.array_equal(heard, HEARD)
    outage = gym.make(ID, scenario="recorded", trace=str(path), link={"outage_db": 0.0})
    assert (held(outage)[1] <= HEARD).all()


def test_masks_alone_make_a_link():
    env = gym.make(ID, scenario="recorded", features=X, targets=Y, heard=HEARD, **SETTINGS)
    assert "heard" in env.observation_space.spaces
    active, heard = held(env)
    assert active.all()
    assert np.array_equal(heard, HEARD)
    plain = gym.make(ID, scenario="recorded", features=X, targets=Y, **SETTINGS)
    assert "heard" not in plain.observation_space.spaces


def empty(mask):
    gone = mask.copy()
    gone[1] = False
    return gone


BAD = {
    "shape": ({"active": ACTIVE[:, :4]}, r"active has shape \(3, 4, 2\).*must be \(3, 5, 2\)"),
    "type": ({"active": ACTIVE.astype(float)}, "type float64: must be .* true or false"),
    "nobody": ({"active": empty(ACTIVE)}, "active: nobody is there in round 2"),
    "no job": ({"active": ACTIVE, "heard": ~ACTIVE}, r"heard without a job \(active\) in round 1"),
    "snr": ({"snr_db": SNR[:, :1]}, r"snr_db has shape \(3, 1\)"),
    "snr is finite": ({"snr_db": SNR * np.inf}, "snr_db: must be finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_masks_are_refused_when_the_scenario_is_made(case):
    masks, text = BAD[case]
    with pytest.raises(ValueError, match=text):
        gym.make(ID, scenario="recorded", features=X, targets=Y, **SETTINGS, **masks)
