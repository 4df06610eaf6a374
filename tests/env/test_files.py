"""Files: whole or not at all, with the rights that the umask says, and none outside a folder."""

import os

import pytest

from owo_env import files


@pytest.fixture(params=[0o077, 0o022, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_files_keep_to_the_umask(tmp_path, umask):
    files.write(tmp_path / "a.json", "text")
    with files.atomic(tmp_path / "b.json") as beside:
        beside.write_bytes(b"x")
    for name in ("a.json", "b.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask


def test_texts_are_utf8_and_half_a_character_loses_no_file(tmp_path):
    files.write(tmp_path / "a", "α\udcff")
    assert (tmp_path / "a").read_bytes() == "α".encode() + rb"\udcff"


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    with pytest.raises(FileNotFoundError):
        files.write(tmp_path / "gone" / "a.json", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    (tmp_path / "a.json").symlink_to(target)
    files.write(tmp_path / "a.json", "new")
    assert target.read_bytes() == b"mine"
    assert not (tmp_path / "a.json").is_symlink()


def test_inside_knows_where_links_and_dots_lead(tmp_path):
    folder = tmp_path / "folder"
    (folder / "real").mkdir(parents=True)
    (folder / "near").symlink_to("real")
    (folder / "far").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    for name in ("real", "near", "new", "real/new", "loop"):
        assert files.inside(folder, name) == folder / name
    for name in ("far", "far/x", "..", "real/../../x", "/etc/passwd"):
        with pytest.raises(ValueError, match="leads out of the folder"):
            files.inside(folder, name)
    (tmp_path / "link").symlink_to(folder)  # the folder itself may be one
    assert files.inside(tmp_path / "link", "real") == tmp_path / "link" / "real"
