"""Users of one cell, or of a ray-traced site, predict their next radio channel by one filter."""

from owo_env.scenarios.csi_prediction.cell import EDGE_SHARE, USERS, User
from owo_env.scenarios.csi_prediction.scenario import CsiPrediction
from owo_env.scenarios.csi_prediction.streets import MOVERS, Mover

__all__ = ["EDGE_SHARE", "MOVERS", "USERS", "CsiPrediction", "Mover", "User"]
