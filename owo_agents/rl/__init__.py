"""Learned weights: policies trained with stable-baselines3 (the extra ``rl``)."""
