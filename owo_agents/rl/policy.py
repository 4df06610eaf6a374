"""A trained policy as a file: a small network and what it was trained for, no pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from owo_agents.agent import Floats
from owo_env import checks, files
from owo_env.problem import Problem

FORMAT = "airan-fairmtl policy 1"
SUFFIX = ".safetensors"
ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
}


@dataclass(frozen=True, eq=False)
class Policy:
    """A multi-layer perceptron from observations to actions in [−1, 1]^K.

    Attributes:
        layers: (W (out, in), b (out,)) of each layer.
        activation: Between the layers, ``"tanh"`` or ``"relu"``.
        squash: Whether tanh comes last (SAC, TD3), or clipping (PPO).
        problem: What it was trained for: ``num_users``, ``alpha``, ``utility_bounds``, ``dim``, and
            ``fairness`` where it is another than α-fairness.
        training: How it was made: scenario, algorithm, steps, seed, …; plain JSON values.
        normalization: ``mean`` and ``scale`` of the observations that it was trained on (3K + 1
            numbers each) and where it clips what they make of one, ``clip``; None: none.
    """

    layers: Sequence[tuple[Floats, Floats]]
    activation: str
    squash: bool
    problem: Mapping[str, Any]
    training: Mapping[str, Any] = field(default_factory=dict)
    normalization: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        checks.one_of("activation", self.activation, ACTIVATIONS)
        size = 3 * int(self.problem["num_users"]) + 1
        for i, (weight, bias) in enumerate(self.layers):
            if weight.shape != (len(bias), size):
                raise ValueError(
                    f"layer {i} of the policy has shape {weight.shape}: must be "
                    f"({len(bias)}, {size}); its observation or its layers do not fit"
                )
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise ValueError(f"layer {i} of the policy is not finite")
            size = len(bias)
        if size != self.problem["num_users"]:
            raise ValueError(
                f"the policy's action has {size} entries: must have K={self.problem['num_users']}"
            )

    def __call__(self, observation: Floats) -> Floats:
        """The deterministic action (..., K) of an observation (..., 3K + 1)."""
        activation = ACTIVATIONS[self.activation]
        x: Floats = np.asarray(observation, np.float64)
        if self.normalization is not None:
            mean, scale = (np.asarray(self.normalization[key]) for key in ("mean", "scale"))
            x = np.clip((x - mean) / scale, -self.normalization["clip"], self.normalization["clip"])
        for weight, bias in self.layers[:-1]:
            x = activation(x @ weight.T + bias)
        weight, bias = self.layers[-1]
        x = x @ weight.T + bias
        return np.tanh(x) if self.squash else np.clip(x, -1.0, 1.0)

    def check(self, problem: Problem) -> None:
        """Raise ValueError unless the policy was trained for such a problem.

        The number of slots, the mix of users and all that a learner is not told may differ.
        """
        here = described(problem)
        for name in {**here, **self.problem}:
            value, theirs = (known.get(name, "α-fairness") for known in (here, self.problem))
            if value != theirs:
                raise ValueError(
                    f"the policy was trained on {self.training.get('scenario', 'a scenario')} with "
                    f"{name}={theirs}, the environment has {name}={value}: "
                    "train one for it with `owo train-rl`"
                )

    def save(self, path: str | Path) -> None:
        """Write it, atomically."""
        path = Path(path)
        tensors = {}
        for i, (weight, bias) in enumerate(self.layers):
            tensors[f"{i}.weight"] = np.ascontiguousarray(weight, np.float32)
            tensors[f"{i}.bias"] = np.ascontiguousarray(bias, np.float32)
        about = {"format": FORMAT, **vars(self)}
        del about["layers"]
        if self.normalization is None:
            del about["normalization"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic(path) as beside:
            save_file(tensors, beside, {"about": json.dumps(about, default=dict, sort_keys=True)})

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy from a file, or a shipped one by its name.

        Raises:
            ValueError: There is no such file, or it is no policy.
        """
        file = locate(path)
        try:
            with safe_open(file, "numpy") as tensors:
                about = json.loads((tensors.metadata() or {}).get("about", "{}"))
                written = about.pop("format", None)
                if written != FORMAT:
                    raise ValueError(f"its format is {written!r}, not {FORMAT!r}")
                layers = [
                    (tensors.get_tensor(f"{i}.weight"), tensors.get_tensor(f"{i}.bias"))
                    for i in range(len(tensors.keys()) // 2)
                ]
            return cls(layers, **about)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(f"{file}: is no policy of `owo train-rl`: {error}") from error


def described(problem: Problem) -> dict[str, Any]:
    """What a policy must find again in any problem that it is to act on; plain JSON values."""
    notion = problem.fairness.described()
    return {
        "num_users": problem.num_users,
        "alpha": problem.alpha,
        "utility_bounds": [np.array(u, float).tolist() for u in problem.utility_bounds],
        "dim": problem.dim,
        **({} if set(notion) == {"name", "alpha"} else {"fairness": notion}),
    }


def shipped() -> dict[str, Path]:
    """Name → file of the policies that come with the package."""
    folder = Path(str(resources.files("owo_agents.rl") / "policies"))
    return {file.name.removesuffix(SUFFIX): file for file in sorted(folder.glob(f"*{SUFFIX}"))}


def locate(path: str | Path) -> Path:
    """The file of a policy: a path, a folder of ``owo train-rl``, or a shipped name.

    Raises:
        ValueError: There is nothing.
    """
    known = shipped()
    if str(path) in known:
        return known[str(path)]
    file = Path(path).expanduser()
    if file.is_dir():
        file = file / f"best{SUFFIX}"
    if not file.is_file():
        raise ValueError(f"policy {str(path)!r}: no such file; shipped are {', '.join(known)}")
    return file


def fitting(problem: Problem) -> Path:
    """The first shipped policy that was trained for such a problem.

    Raises:
        ValueError: None was.
    """
    for file in shipped().values():
        if Policy.load(file).problem == described(problem):
            return file
    raise ValueError(
        f"no shipped policy fits {described(problem)}: train one with `owo train-rl` and pass its "
        "file as path=…"
    )
