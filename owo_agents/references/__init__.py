"""References: what fairness could be, and the strongest constant."""
