"""Learners for fair online multi-task learning, and the benchmark that compares them."""

from owo_agents.agent import Agent
from owo_agents.learner import Learner
from owo_agents.methods import cws, frozen, owo_fmtl, owo_normalized, srl
from owo_agents.play import AgentError, RoundRecord, play
from owo_agents.registry import make, names, register
from owo_agents.weight_control import WeightControl, WeightControlVector

register("owo-fmtl", owo_fmtl, "Algorithm 1: dual weights in the round, a learned start between")
register("cws", cws, "constant weights: shares `weights`, sum `total`")
register("srl", srl, "single-round learning: OWO-FMTL from scratch every round")
register("frozen", frozen, "control: no learning within the round, starts at the mean of θ*")
register("owo-normalized", owo_normalized, "control: OWO-FMTL's shares at a constant total")

for _name, _path, _summary in (
    ("ftl", "online:ftl", "rival: dual follow-the-leader, p = (mean utility so far)^−α"),
    ("hedge", "online:hedge", "rival: exponential weights towards the worst user"),
    ("slot-fair", "online:slot_fair", "rival: α-fairness within each slot"),
    ("dual-carried", "online:dual_carried", "rival: OWO-FMTL whose priorities never restart"),
    ("cws-tuned", "tuned:TunedConstant", "rival: the best constant weights on other seeds"),
    ("oracle", "oracle:Oracle", "reference: plays θ*_t, which only hindsight knows"),
    ("single-task", "single_task:SingleTask", "reference: one model per user, at any cost"),
    ("fairgrad", "aggregated:fairgrad", "TorchJD: FairGrad, with the problem's α"),
    ("nash-mtl", "aggregated:nash_mtl", "TorchJD: Nash-MTL"),
    ("pcgrad", "aggregated:pcgrad", "TorchJD: PCGrad"),
    ("cagrad", "aggregated:cagrad", "TorchJD: CAGrad"),
    ("mgda", "aggregated:mgda", "TorchJD: MGDA"),
    ("imtl-g", "aggregated:imtl_g", "TorchJD: IMTL-G"),
    ("upgrad", "aggregated:upgrad", "TorchJD: UPGrad"),
    ("aligned-mtl", "aggregated:aligned_mtl", "TorchJD: Aligned-MTL"),
    ("config", "aggregated:config", "TorchJD: ConFIG"),
    ("aggregator", "aggregated:aggregated", "TorchJD: any `aggregator`, by name or path"),
    ("famo", "scalarized:famo", "TorchJD: FAMO"),
    ("dwa", "scalarized:dwa", "TorchJD: dynamic weight average"),
    ("uw", "scalarized:uw", "TorchJD: uncertainty weighting"),
    ("rlw", "scalarized:rlw", "TorchJD: random loss weighting"),
    ("scalarizer", "scalarized:scalarized", "TorchJD: any `scalarizer`, by name or path"),
):
    register(_name, f"owo_agents.rivals.{_path}", _summary)

register(
    "rl", "owo_agents.rl.agent:learned", "weights by a trained policy: `rl:PATH`, or a shipped one"
)

__all__ = [
    "Agent",
    "AgentError",
    "Learner",
    "RoundRecord",
    "WeightControl",
    "WeightControlVector",
    "make",
    "names",
    "play",
    "register",
]
