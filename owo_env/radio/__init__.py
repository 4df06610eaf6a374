"""A radio link in numpy: 3GPP delay profiles, Jakes fading, response on subcarriers."""
