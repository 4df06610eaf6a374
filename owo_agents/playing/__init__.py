"""How an agent and an environment play: the loop, its records and its checkpoints."""
