"""The radio link between users and server: who is there, and what of their feedback arrives."""

from owo_env.link.settings import Link, make_link

__all__ = ["Link", "make_link"]
