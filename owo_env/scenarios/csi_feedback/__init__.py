"""Users compress the channel that they measured, and the server reconstructs it."""

from owo_env.scenarios.csi_feedback.scenario import CsiFeedback

__all__ = ["CsiFeedback"]
