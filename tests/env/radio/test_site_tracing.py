"""The making of a site against ``sionna-rt``'s own channels, where it and LLVM are there."""

import numpy as np
import pytest

from owo_env.radio.channel import SPEED_OF_LIGHT, Grid
from owo_env.radio.site import Site, Street, load
from owo_env.radio.site import scene as scenes
from owo_env.radio.site.channel import channels

try:
    scenes.tracer()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

from owo_env.radio.site import tracing
from owo_env.radio.site.scene import Scene
from owo_env.radio.site.tracing import trace

pytestmark = pytest.mark.slow

SPEED = 12.0  # m/s
CANYON = dict(scene="simple_street_canyon", transmitter=(-30, 0, 20), look_at=(20, 0, 1.5))


@pytest.fixture(scope="module")
def munich():
    about = load("munich").about
    return Scene("munich", about["transmitter"], about["look_at"])


@pytest.fixture(scope="module")
def canyon():
    """A toy, of which a few rays, and few streets at a time, are enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "RAYS", 20_000)
        patch.setattr(tracing, "AT_A_TIME", 2)
        yield Scene(**CANYON)


def test_channels_are_the_tracers_own(munich):
    """At five places, with all paths: the same to a thousandth; the strongest 24 lose little."""
    shipped = load("munich")
    at = np.array([np.flatnonzero(shipped.street == n)[40] for n in (0, 1, 2, 3, 5)])
    place = shipped.position[at]
    streets = [shipped.streets[n] for n in shipped.street[at]]
    ahead = np.array([np.subtract(s.end, s.start) for s in streets])
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    grid, slots = Grid(), 16
    frequencies = grid.spacing * np.arange(grid.subcarriers)
    theirs = munich.response(place, SPEED * ahead, frequencies, grid.slot, slots, 0)
    paths = munich.paths(place, ahead, 0)
    way = np.tile(SPEED * grid.slot * np.arange(slots), (5, 1))
    own = channels(_site(shipped, paths), grid, np.arange(5)[:, None].repeat(slots, 1), way)
    first = np.where(paths["gain"] == 0, np.inf, paths["delay"]).min(axis=1)
    own = own * np.exp(-2j * np.pi * first[:, None, None] * frequencies)
    error = np.linalg.norm(own - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    assert error.max() <= 1e-3
    # What the file keeps: traced on another day, with other neighbours, the same places.
    kept = channels(shipped, grid, at[:, None].repeat(slots, 1), way)
    first = np.where(shipped.gain[at] == 0, np.inf, shipped.delay[at]).min(axis=1)
    kept = kept * np.exp(-2j * np.pi * first[:, None, None] * frequencies)
    lost = np.linalg.norm(kept - theirs, axis=(1, 2)) / np.linalg.norm(theirs, axis=(1, 2))
    share = 1 - shipped.kept[at]
    print("relative errors", error, "with 24 paths", lost, "power left out", share)
    assert lost.max() < 0.1


def _site(shipped, paths):
    """All paths of some places."""
    places = len(paths["gain"])
    arrays = {n: v.astype(np.complex64 if n == "gain" else np.float32) for n, v in paths.items()}
    none = np.zeros(places, np.uint8)
    return Site(
        shipped.about, street=none, along=np.arange(places, dtype=np.float32),
        kept=np.ones(places, np.float32), built=shipped.built, **arrays,
    )  # fmt: skip


def test_in_free_space_a_line_of_sight_is_friis(canyon):
    """The strongest path: its delay is the distance over c, its gain that of the antenna."""
    at = np.array([[0.0, 0.0], [20.0, 2.0]])
    paths = canyon.paths(at, np.tile([1.0, 0.0], (2, 1)), 0)
    strongest = np.abs(paths["gain"]).argmax(axis=1)
    heights = canyon.ground(at) + scenes.ABOVE_GROUND
    far = np.linalg.norm(np.column_stack([at, heights]) - canyon.transmitter, axis=1)
    delay = paths["delay"][np.arange(2), strongest]
    np.testing.assert_allclose(delay, far / SPEED_OF_LIGHT, rtol=1e-4)
    friis = SPEED_OF_LIGHT / 3.5e9 / (4 * np.pi * far)
    gain = 20 * np.log10(np.abs(paths["gain"][np.arange(2), strongest]) / friis)
    assert (gain < 8.01).all() and (gain > -10).all()
    # It comes from the transmitter, behind a user who walks to the east: negative cosine.
    ray = (canyon.transmitter[0] - at[:, 0]) / far
    np.testing.assert_allclose(paths["cosine"][np.arange(2), strongest], ray, atol=1e-3)


def test_the_same_seed_is_the_same_file(canyon, tmp_path):
    for name in "ab":
        trace(canyon, places=20, seed=3).save(tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = load(tmp_path / "a.npz")
    assert len(found.along) == 20 and found.about["attribution"] == "not stated"
    free = ~canyon.built(found.position)
    assert free.all()


def test_streets_that_are_given(canyon):
    told = []
    streets = [
        Street("middle", "open", (-10, 0), (10, 0)),
        Street("office", "indoor", (-10, 0), (10, 0), loss_db=20),
    ]
    made = trace(canyon, streets, progress=lambda *count: told.append(count))
    assert np.bincount(made.street).tolist() == [41, 41] and told[-1] == (82, 82)
    np.testing.assert_allclose(made.gain_db[:41] - made.gain_db[41:], 20, atol=1e-3)
    np.testing.assert_allclose(made.position[:41, 0], made.along[:41] - 10)


def test_bad_input(canyon):
    wrong = [
        (dict(scene="munch"), "unknown scene 'munch': did you mean 'munich'"),
        (dict(transmitter=(0, 0, -2)), "is underground"),
        (dict(transmitter=(900, 0, 20)), "is outside the scene"),
        (dict(transmitter=(0, 20, 5)), "is inside a building"),
        (dict(carrier_ghz=0), "carrier_ghz"),
    ]
    for change, said in wrong:
        with pytest.raises(ValueError, match=said):
            Scene(**CANYON | change)
    with pytest.raises(ValueError, match=r"street 'a': \(.*\) is outside the scene"):
        trace(canyon, [Street("a", "open", (0, 0), (500, 0))])
    with pytest.raises(ValueError, match=r"street 'a': \(.*\) is inside a building"):
        trace(canyon, [Street("a", "open", (0, 0), (0, 25))])
    with pytest.raises(ValueError, match="places=1"):
        trace(canyon, places=1)
