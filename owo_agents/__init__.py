"""Learners for fair online multi-task learning, and the benchmark that compares them."""

from owo_agents.agent import Agent
from owo_agents.learner import Learner
from owo_agents.methods import cws, frozen, owo_fmtl, owo_normalized, srl
from owo_agents.play import AgentError, RoundRecord, play
from owo_agents.registry import make, names, register

register("owo-fmtl", owo_fmtl, "Algorithm 1: dual weights in the round, a learned start between")
register("cws", cws, "constant weights: shares `weights`, sum `total`")
register("srl", srl, "single-round learning: OWO-FMTL from scratch every round")
register("frozen", frozen, "control: no learning within the round, starts at the mean of θ*")
register("owo-normalized", owo_normalized, "control: OWO-FMTL's shares at a constant total")

__all__ = [
    "Agent",
    "AgentError",
    "Learner",
    "RoundRecord",
    "make",
    "names",
    "play",
    "register",
]
