"""What a user keeps on its disk: whenever it is killed, the last step that was whole is there."""

import numpy as np
import pytest

from owo_env.remote.keeping import Disk, Kept


def said(step):
    """Of different lengths."""
    return b"x" * 1000 * (9 - step)


def at(step):
    """What is kept after a step."""
    parts = {"head.weight": np.full((3, 2), step, np.float32)}
    copy = {"head.weight": np.zeros((3, 2), np.float32)}
    return Kept(run="a", round=1, slot=step, opened=1, parts=parts, copy=copy, answer=said(step))


@pytest.fixture
def disk(tmp_path):
    """After three steps."""
    disk = Disk(tmp_path / "state")
    kept = at(0)
    disk.write(kept)
    for step in (1, 2, 3):
        kept.slot, kept.parts, kept.answer = step, at(step).parts, said(step)
        disk.write_step(kept)
    yield disk
    for file in disk._open:
        file.close()


def holds(kept, step):
    assert (kept.run, kept.slot, kept.answer) == ("a", step, said(step))
    assert (kept.parts["head.weight"] == step).all() and (kept.copy["head.weight"] == 0).all()


def test_the_last_step_is_what_is_there(disk):
    holds(Disk(disk.path).read(), 3)
    kept = disk.read()
    kept.slot, kept.parts, kept.answer = 4, at(4).parts, said(4)
    disk.write_step(kept)
    holds(Disk(disk.path).read(), 4)
    assert {path.stat().st_mode & 0o777 for path in disk.path.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("byte", [10, 100, -1, -9, None])
def test_a_step_that_is_damaged_is_none(disk, byte):
    """In its header, its data, or cut short: then the one before is the last."""
    path = disk.path.parent / ".state.step-1"
    content = bytearray(path.read_bytes())
    if byte is None:
        del content[len(content) // 2 :]
    else:
        content[byte] ^= 1
    path.write_bytes(content)
    holds(Disk(disk.path).read(), 2)


def test_steps_belong_to_one_whole_file(disk):
    """Those of a life that is over say nothing, whatever they are called."""
    disk.write(at(7))
    holds(Disk(disk.path).read(), 7)
    disk.path.unlink()
    assert Disk(disk.path).read() == Kept()


def test_it_ends_as_one_file(disk):
    disk.close()
    assert [path.name for path in disk.path.parent.iterdir()] == ["state"]
    holds(Disk(disk.path).read(), 3)


def test_who_kept_nothing_leaves_the_files_of_others(disk):
    """The same command twice: the second is refused, and the first goes on."""
    before = {path: path.read_bytes() for path in disk.path.parent.iterdir()}
    second = Disk(disk.path)
    second.read()
    second.close()
    assert {path: path.read_bytes() for path in disk.path.parent.iterdir()} == before


def test_a_whole_file_that_is_damaged_is_refused(disk):
    content = bytearray(disk.path.read_bytes())
    content[-1] ^= 1
    disk.path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged or no user's state \(its check sum"):
        Disk(disk.path).read()


class Full:
    """A file on a disk that has room for half of what is written."""

    def __init__(self, file):
        self.seek, self.truncate, self._write = file.seek, file.truncate, file.write

    def write(self, content):
        return self._write(content[: len(content) // 2])


def test_a_disk_without_room_keeps_what_was_there(disk):
    kept = disk.read()
    usual, disk._open = disk._open, [Full(file) for file in disk._open]
    with pytest.raises(OSError, match="No space left"):
        disk.write_step(kept)
    disk._open = usual
    holds(disk.read(), 3)
