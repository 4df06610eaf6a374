"""Logs as operators have them, made into traces that scenario ``recorded`` replays."""

from owo_env.logs.summary import Predictions, Summary
from owo_env.logs.trace import LogTrace, trace_from

__all__ = ["LogTrace", "Predictions", "Summary", "trace_from"]
