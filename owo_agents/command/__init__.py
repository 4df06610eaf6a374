"""The command ``owo``."""
