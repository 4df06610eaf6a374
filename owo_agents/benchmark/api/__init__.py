"""A benchmark in three lines: what is asked for, run with a bar, and what came of it."""
