from __future__ import annotations

import pytest

from cellfree_sim.errors import RunFolderError
from cellfree_sim.results import Checkpoints

PARTS = {"mbs": b"coordinator", "sbs-0": b"\x00\xff" * 100, "sbs-1": b""}


def test_what_was_saved_comes_back(tmp_path):
    saved = Checkpoints(tmp_path / "checkpoints")
    assert saved.latest() is None
    saved.save(150, PARTS, notes={"phase": "training"})
    found = saved.latest()
    assert found is not None
    assert (found.step, found.parts, found.notes, found.skipped) == (150, PARTS, {"phase": "training"}, ())


def test_only_the_newest_stay(tmp_path):
    saved = Checkpoints(tmp_path, keep=2)
    for step in (5, 20, 100):
        saved.save(step, PARTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000100"]


def test_the_same_step_can_be_saved_again(tmp_path):
    saved = Checkpoints(tmp_path)
    saved.save(5, {"mbs": b"old"})
    saved.save(5, {"mbs": b"new"})
    assert saved.latest().parts == {"mbs": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]


def damage_bytes(folder):
    (folder / "sbs-0.state").write_bytes(b"x")


def lose_part(folder):
    (folder / "sbs-1.state").unlink()


def lose_manifest(folder):
    (folder / "manifest.json").unlink()


def truncate_manifest(folder):
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text[: len(text) // 2])


def escape_folder(folder):
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"mbs"', '"../mbs"'))


@pytest.mark.parametrize("damage", [damage_bytes, lose_part, lose_manifest, truncate_manifest, escape_folder])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, damage):
    saved = Checkpoints(tmp_path)
    saved.save(1, PARTS)
    newest = saved.save(2, PARTS)
    damage(newest)
    found = saved.latest()
    assert found is not None
    assert found.step == 1
    assert found.parts == PARTS
    assert len(found.skipped) == 1
    assert "step-00000002" in found.skipped[0]


def test_when_none_is_whole_that_is_an_error_not_a_fresh_start(tmp_path):
    saved = Checkpoints(tmp_path)
    damage_bytes(saved.save(1, PARTS))
    with pytest.raises(RunFolderError, match="no checkpoint is whole"):
        saved.latest()


def test_a_save_that_fails_leaves_earlier_ones(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path)
    saved.save(1, PARTS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match="No space left"):
        saved.save(2, PARTS)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert saved.latest().step == 1


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a part"):
        Checkpoints(tmp_path).save(1, {name: b""})
