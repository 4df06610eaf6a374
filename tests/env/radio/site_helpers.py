"""A site that one can reckon with by hand."""

import numpy as np

from owo_env.radio.site import Site

WAVELENGTH = 0.1  # m


def site(along=(0.0, 0.5, 1.0), street=None, kinds=("open", "indoor"), **paths):
    """Places on streets to the east, 100 m apart, with paths (N, P) as given."""
    places = len(along)
    street = np.zeros(places, np.uint8) if street is None else np.array(street, np.uint8)
    shape = (places, np.shape(paths.get("gain", [[1.0]]))[-1])
    plain = dict(delay=1e-6, cosine=1.0, zenith=1.5, azimuth=0.0)
    arrays = {
        n: np.broadcast_to(paths.get(n, v), shape).astype(np.float32) for n, v in plain.items()
    }
    arrays["gain"] = np.broadcast_to(paths.get("gain", 1.0), shape).astype(np.complex64)
    about = {
        "transmitter": [0.0, 10.0, 20.0], "look_at": [0.0, 20.0, 1.5],
        "carrier_hz": 299_792_458.0 / WAVELENGTH, "scene": "paper", "tool": "by hand", "seed": 0,
        "licence": "none", "attribution": "nobody",
        "streets": [
            dict(name=f"s{n}", kind=kind, start=[0.0, 100.0 * n], end=[50.0, 100.0 * n])
            for n, kind in enumerate(kinds)
        ],
        "built_from": [-10.0, -10.0], "built_step": 2.0, "built_shape": [60, 40],
    }  # fmt: skip
    return Site(
        about,
        street=street,
        along=np.array(along, np.float32),
        kept=np.full(places, paths.get("kept", 1.0), np.float32),
        built=np.arange(2400).reshape(60, 40) % 3 == 0,
        **arrays,
    )
