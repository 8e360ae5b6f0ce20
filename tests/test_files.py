"""Atomic writes: whole or not at all, whatever is killed in between."""

import hashlib
import json
import os

import pytest

from lora_studio import files
from lora_studio.errors import WorkspaceError, run_command


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"v": 1})
    with pytest.raises(RuntimeError), files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"v": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_temporary_name_keeps_the_suffix(tmp_path):
    with files.atomic_path(tmp_path / "clip.mp4") as temporary:
        assert temporary.suffix == ".mp4"
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"x")
    assert (tmp_path / "clip.mp4").read_bytes() == b"x"


def test_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "dataset"
    for value in ("one", "two"):
        with files.atomic_folder(target) as temporary:
            (temporary / "v").write_text(value)
            (temporary / value).touch()
    assert sorted(os.listdir(target)) == ["two", "v"]
    assert os.listdir(tmp_path) == ["dataset"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    target = tmp_path / "dataset"
    with files.atomic_folder(target) as temporary:
        (temporary / "v").write_text("one")
    with pytest.raises(RuntimeError), files.atomic_folder(target):
        raise RuntimeError
    assert (target / "v").read_text() == "one"


def test_hashes_do_not_depend_on_key_order(tmp_path):
    assert files.sha256_json({"a": 1, "b": [1.5, "é"]}) == files.sha256_json(json.loads('{"b": [1.5, "\\u00e9"], "a": 1}'))
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256_file(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hashing_a_large_file_tells_how_far_it_is(tmp_path):
    path, told = tmp_path / "large", []
    path.write_bytes(b"x" * (9 << 20))
    assert files.sha256_file(path, told.append) == files.sha256_file(path) == hashlib.sha256(b"x" * (9 << 20)).hexdigest()
    assert told == sorted(told)
    assert (len(told), told[-1]) == (3, 1.0)
    (tmp_path / "empty").touch()
    assert files.sha256_file(tmp_path / "empty") == hashlib.sha256().hexdigest()


def test_a_path_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        run_command(lambda: files.write_text(tmp_path / "file" / "brand.toml", "x"))
    assert "error: " in capsys.readouterr().err


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "run.json").write_text('{"half": ')
    with pytest.raises(WorkspaceError, match=r"run\.json is damaged .*run the step that makes it again"):
        files.read_json(tmp_path / "run.json")


def test_the_same_text_is_not_written_twice(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"v": 1})
    before = path.stat()
    files.write_json(path, {"v": 1})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    files.write_json(path, {"v": 2})
    assert files.read_json(path) == {"v": 2}
