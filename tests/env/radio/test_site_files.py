"""A site's file: what is written is read, and what is none is refused by name."""

import numpy as np
import pytest
from site_helpers import site

from owo_env.radio.site import Street, load, names
from owo_env.radio.site.file import ARRAYS, KINDS, MOST_PATHS


def test_what_is_written_is_read(tmp_path):
    made = site(street=[0, 0, 1], along=[0.0, 0.5, 0.0], gain=[[2.0, 1j]])
    made.save(tmp_path / "a.npz")
    found = load(tmp_path / "a.npz")
    assert found.about == made.about
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
        if name != "built":
            assert not getattr(found, name).flags.writeable
    made.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("name", names())
def test_the_sites_that_come_with_the_package(name):
    found = load(name)
    assert load(name) is found  # read once
    assert (load.__globals__["KNOWN"] / f"{name}.npz").stat().st_size <= 1e6
    assert "OpenStreetMap" in found.about["attribution"] and found.about["licence"]
    assert found.gain.shape[1] <= MOST_PATHS
    assert {street.kind for street in found.streets} <= {*KINDS}
    assert (np.diff(np.abs(found.gain), axis=1) <= 0).all()  # strongest first
    assert found.kept.min() > 0.9
    # Streets run through free ground, unless they are indoors.
    corner, step = found.about["built_from"], found.about["built_step"]
    column, row = np.round((found.position - corner) / step).astype(int).T
    outdoors = np.array([street.kind != "indoor" for street in found.streets])[found.street]
    assert found.built[row, column][outdoors].mean() < 0.1  # a map of 2 m is coarse


def test_delay_spreads_and_k_factors_by_hand():
    made = site(along=[0.0], gain=[[2.0, 1.0]], delay=[[0.0, 5e-7]], kept=5 / 6)
    # Shares .8 and .2 of two delays: √(.8·.2) of the distance between them.
    assert made.delay_spread == pytest.approx([0.4 * 5e-7])
    assert made.k_factor_db == pytest.approx([10 * np.log10(4 / 2)])
    assert made.gain_db == pytest.approx([10 * np.log10(6)])


def test_delays_and_k_factors_of_a_city_are_those_of_its_page():
    munich = load("munich")
    median = {
        street.name: (
            1e9 * np.median(munich.delay_spread[munich.street == n]),
            np.median(munich.k_factor_db[munich.street == n]),
        )
        for n, street in enumerate(munich.streets)
    }
    # In sight one path rules, in the shadow many are alike.
    assert median["square"][1] > 3 > median["west"][1]
    spread = 1e9 * munich.delay_spread
    assert np.quantile(spread, 0.05) > 1 and np.quantile(spread, 0.95) < 500
    assert munich.k_factor_db.min() > -10 and munich.k_factor_db.max() < 40


def test_a_file_that_is_written_again_is_read_again(tmp_path):
    path = tmp_path / "a.npz"
    site(gain=[[2.0]]).save(path)
    first = load(path)
    assert load(path) is first
    site(gain=[[3.0]]).save(path)
    assert load(path).gain[0, 0] == 3


def test_what_is_no_site(tmp_path):
    with pytest.raises(ValueError, match="unknown site 'munch': did you mean 'munich'"):
        load("munch")
    with pytest.raises(ValueError, match="no such file"):
        load(tmp_path / "not_there.npz")
    with pytest.raises(ValueError, match="site=3: must be one of"):
        load(3)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text.npz: is not a site's file"):
        load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", features=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz: is not a site's file"):
        load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(format=2), "has format 2, and format 1 is known"),
        (dict(carrier_hz=None), "lacks carrier_hz"),
        (dict(carrier_hz="fast"), "carrier_hz"),
        (dict(scene=3), "scene=3: must be a text"),
        (dict(transmitter=[1, 2]), r"transmitter=\[1, 2\]: must be 3 numbers"),
        (dict(built_shape=[10**6, 10**6]), "built has other bits"),
        (dict(gain=np.full((3, 1), np.nan + 0j)), "gain is empty, or not finite"),
        (dict(gain=np.zeros((3, 1), complex)), "a place without any path"),
        (dict(gain=np.ones((3, 25), complex)), "delay has shape"),
        (dict(cosine=np.full((3, 1), 2.0)), "cosine must be in"),
        (dict(delay=np.full((3, 1), -1.0)), "delay at least 0"),
        (dict(street=np.full(3, 9, np.uint8)), "a place on street 9 of 2"),
        (dict(street=np.zeros(3)), "street has shape"),
        (dict(streets=[dict(name="a", kind="alley", start=[0, 0], end=[1, 0])]), "alley"),
    ],
)
def test_files_of_other_versions_or_broken(tmp_path, change, said):
    import json

    path = tmp_path / "site.npz"
    site().save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["about"]))
    for name, value in change.items():
        if name in arrays:
            arrays[name] = value
        elif value is None:
            del about[name]
        else:
            about[name] = value
    arrays["about"] = np.array(json.dumps(about))
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=said):
        load(path)


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "pickled.npz", about=np.array([{}], object))
    with pytest.raises(ValueError, match="is not a site's file"):
        load(tmp_path / "pickled.npz")


@pytest.mark.parametrize(
    ("street", "said"),
    [
        (dict(kind="alley"), "unknown kind 'alley'"),
        (dict(end=(0, 0)), "ends where it starts"),
        (dict(end=(1, 2, 3)), "must be x, y in m"),
        (dict(loss_db=-1), "loss_db"),
        (dict(end=(1, float("nan"))), "end"),
    ],
)
def test_streets_that_are_none(street, said):
    with pytest.raises(ValueError, match=said):
        Street(**dict(name="a", kind="open", start=(0, 0), end=(1, 0)) | street)
