"""What is handed from stage to stage is held against the manifest that it was written with."""

from __future__ import annotations

import json

import pytest

from mora import files, manifest
from mora.errors import InputError


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "model"
    with files.new_folder(folder, sealed=True) as made:
        (made / "weights.safetensors").write_bytes(bytes(range(256)) * 8)
        (made / "deep").mkdir()
        (made / "deep" / "config.json").write_text('{"width": 8}')
    return folder


def flip(path, bit=0):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << bit
    path.write_bytes(bytes(content))


def test_an_undamaged_folder_passes_and_every_file_is_listed(sealed):
    manifest.check_content(sealed)
    listed = manifest.entries_of(sealed)
    assert {name: entry["bytes"] for name, entry in listed.items()} == {
        "weights.safetensors": 2048,
        "deep/config.json": 12,
    }


def test_the_digest_is_that_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    manifest.seal(tmp_path)
    # FIPS 180-4, SHA-256 of "abc"
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json.loads((tmp_path / "manifest.json").read_text())["files"]["abc"]["sha256"] == expected


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_bit_is_told_with_the_file_and_the_way_out(sealed, bit):
    flip(sealed / "weights.safetensors", bit)
    with pytest.raises(InputError, match=r"weights\.safetensors is damaged: .*; get another"):
        manifest.check_content(sealed, "get another")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "deep" / "config.json").unlink(), r"deep/config\.json is missing"),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b""), r"weights\.safetensors is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest\.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"manifest": "mora 1"}'), r"manifest\.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe"), r"manifest\.json is damaged"),
    ],
)
def test_other_damage(sealed, damage, said):
    damage(sealed)
    with pytest.raises(InputError, match=said):
        manifest.check_content(sealed)


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("weights.safetensors", {"bytes": 2048}),
        ("weights.safetensors", {"sha256": "00"}),
        ("weights.safetensors", 3),
        ("../outside", {"bytes": 3, "sha256": "00"}),
        ("deep/../../outside", {"bytes": 3, "sha256": "00"}),
        ("/etc/hostname", {"bytes": 3, "sha256": "00"}),
        ("", {"bytes": 3, "sha256": "00"}),
    ],
)
def test_an_entry_that_is_incomplete_or_leads_out_of_the_folder_is_refused_unopened(sealed, monkeypatch, name, entry):
    (sealed / "manifest.json").write_text(json.dumps({"manifest": "mora 1", "files": {name: entry}}))
    monkeypatch.setattr(manifest, "sha256", lambda path: pytest.fail(f"{path} was opened"))
    for check in (
        lambda: manifest.check_content(sealed),
        lambda: manifest.check_bytes(sealed / "weights.safetensors", b"any"),
    ):
        with pytest.raises(InputError, match=r"manifest\.json is damaged"):
            check()


@pytest.mark.parametrize("text", [None, "[]", '{"files": 3}', '{"manifest": "of something else", "files": []}'])
def test_folders_of_others_pass(tmp_path, text):
    (tmp_path / "weights").write_bytes(b"any")
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    manifest.check_content(tmp_path)
    manifest.check_bytes(tmp_path / "weights", b"any")


def test_a_folder_is_read_once_in_a_process_and_again_when_it_is_made_anew(sealed, monkeypatch):
    read, digest = [], manifest.sha256
    monkeypatch.setattr(manifest, "sha256", lambda path: read.append(path.name) or digest(path))
    for _ in range(3):
        manifest.check_content(sealed)
    assert sorted(read) == ["config.json", "weights.safetensors"]
    with files.new_folder(sealed, sealed=True) as made:
        (made / "other").write_text("new")
    read.clear()
    manifest.check_content(sealed)
    assert read == ["other"]


def test_tables_are_checked_where_they_are_read(tmp_path):
    files.record_json(tmp_path / "front.json", {"value": 0.5})
    files.record_lines(tmp_path / "samples.jsonl", [{"text": "a"}, {"text": "b"}])
    assert files.read_json(tmp_path / "front.json") == {"value": 0.5}
    assert files.read_lines(tmp_path / "samples.jsonl") == [{"text": "a"}, {"text": "b"}]
    (tmp_path / "front.json").write_text((tmp_path / "front.json").read_text().replace("0.5", "0.7"))
    with pytest.raises(InputError, match=r"front\.json is damaged"):
        files.read_json(tmp_path / "front.json")
    flip(tmp_path / "samples.jsonl")
    with pytest.raises(InputError, match=r"samples\.jsonl is damaged"):
        files.read_lines(tmp_path / "samples.jsonl")
    files.record_json(tmp_path / "front.json", {"value": 0.9})
    assert files.read_json(tmp_path / "front.json") == {"value": 0.9}


def test_a_reader_finds_a_whole_table_while_it_is_replaced(tmp_path, monkeypatch):
    """After each of the two renames of a replacement the file and its entry fit."""
    path, found, rename = tmp_path / "front.json", [], files.os.replace
    files.record_json(path, {"value": 1})

    def observed(source, target):
        rename(source, target)
        found.append(files.read_json(path)["value"])

    monkeypatch.setattr(files.os, "replace", observed)
    files.record_json(path, {"value": 2})
    assert found == [1, 2]


def test_a_manifest_is_no_part_of_what_a_model_is(sealed):
    known = manifest.model_content(sealed)
    (sealed / "manifest.json").unlink()
    assert manifest.model_content(sealed) == known and set(known) == {"weights.safetensors", "deep/config.json"}
