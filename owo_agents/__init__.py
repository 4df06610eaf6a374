"""Learners for fair online multi-task learning, and the benchmark that compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from owo_agents.agent import Agent
from owo_agents.learner.learner import Learner
from owo_agents.learner.methods import cws, frozen, owo_fmtl, owo_normalized, srl
from owo_agents.playing.loop import AgentError, RoundRecord, play
from owo_agents.registry import describe, make, names, register
from owo_agents.rl.control import WeightControl, WeightControlVector

if TYPE_CHECKING:
    from owo_agents.benchmark.api.bench import bench
    from owo_agents.playing.checkpoint import resume

# The gradients that each plays on, if not "weighted"; None where its arguments or the problem say.
_GRADIENTS: dict[str, str | None] = {
    **dict.fromkeys(("slot-fair", "fairgrad", "nash-mtl", "pcgrad", "cagrad", "mgda"), "per_user"),
    **dict.fromkeys(("imtl-g", "upgrad", "aligned-mtl", "config", "aggregator"), "per_user"),
    "owo-adaptive": None,
    "oracle": None,
}

for _name, _factory, _summary in (
    ("owo-fmtl", owo_fmtl, "Algorithm 1: dual weights in the round, a learned start between"),
    ("cws", cws, "constant weights: shares `weights`, sum `total`"),
    ("srl", srl, "single-round learning: OWO-FMTL from scratch every round"),
    ("frozen", frozen, "control: no learning within the round, starts at the mean of θ*"),
    ("owo-normalized", owo_normalized, "control: OWO-FMTL's shares at a constant total"),
):
    register(_name, _factory, _summary, "weighted")

for _name, _path, _summary in (
    (
        "owo-adaptive",
        "learner.adaptive:owo_adaptive",
        "tunes itself: experts on learned curvature, step, outer rate; the one to take",
    ),
    (
        "ftl",
        "rivals.online:FollowTheLeader",
        "rival: dual follow-the-leader, p = (mean utility)^−α",
    ),
    ("hedge", "rivals.online:Hedge", "rival: exponential weights towards the worst user"),
    ("slot-fair", "rivals.online:slot_fair", "rival: α-fairness within each slot"),
    ("dual-carried", "rivals.online:DualCarried", "rival: OWO-FMTL without restarts of p"),
    ("cws-tuned", "references.tuned:TunedConstant", "rival: constants tuned on other seeds"),
    ("oracle", "references.oracle:Oracle", "reference: plays θ*_t, which only hindsight knows"),
    (
        "single-task",
        "references.single_task:SingleTask",
        "reference: one model a user, at any cost",
    ),
    ("fairgrad", "rivals.aggregated:fairgrad", "TorchJD: FairGrad, with the problem's α"),
    ("nash-mtl", "rivals.aggregated:nash_mtl", "TorchJD: Nash-MTL"),
    ("pcgrad", "rivals.aggregated:pcgrad", "TorchJD: PCGrad"),
    ("cagrad", "rivals.aggregated:cagrad", "TorchJD: CAGrad"),
    ("mgda", "rivals.aggregated:mgda", "TorchJD: MGDA"),
    ("imtl-g", "rivals.aggregated:imtl_g", "TorchJD: IMTL-G"),
    ("upgrad", "rivals.aggregated:upgrad", "TorchJD: UPGrad"),
    ("aligned-mtl", "rivals.aggregated:aligned_mtl", "TorchJD: Aligned-MTL"),
    ("config", "rivals.aggregated:config", "TorchJD: ConFIG"),
    ("aggregator", "rivals.aggregated:aggregated", "TorchJD: any `aggregator`, by name or path"),
    ("famo", "rivals.scalarized:famo", "TorchJD: FAMO"),
    ("dwa", "rivals.scalarized:dwa", "TorchJD: dynamic weight average"),
    ("uw", "rivals.scalarized:uw", "TorchJD: uncertainty weighting"),
    ("rlw", "rivals.scalarized:rlw", "TorchJD: random loss weighting"),
    ("scalarizer", "rivals.scalarized:scalarized", "TorchJD: any `scalarizer`, by name or path"),
    ("rl", "rl.agent:learned", "weights by a trained policy: `rl:PATH`, or a shipped one"),
):
    register(_name, f"owo_agents.{_path}", _summary, _GRADIENTS.get(_name, "weighted"))

__all__ = [
    "Agent",
    "AgentError",
    "Learner",
    "RoundRecord",
    "WeightControl",
    "WeightControlVector",
    "bench",
    "describe",
    "make",
    "names",
    "play",
    "register",
    "resume",
]


def __getattr__(name: str) -> Any:
    """``bench`` and ``resume``: what they need is loaded when they are first asked for."""
    if name == "bench":
        from owo_agents.benchmark.api.bench import bench

        return bench
    if name == "resume":
        from owo_agents.playing.checkpoint import resume

        return resume
    raise AttributeError(f"module 'owo_agents' has no attribute {name!r}")
