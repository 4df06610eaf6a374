"""Ray-traced sites: streets of a city, where users are, and what reaches them by radio."""

from owo_env.radio.site.file import Site, Street, load, names

__all__ = ["Site", "Street", "load", "names"]
