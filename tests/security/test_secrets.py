"""A secret of a command line, a file or the environment is written nowhere; what only looks like one is kept."""

from __future__ import annotations

import json
import re

import pytest
import yaml

import mora
from mora.errors import InputError
from mora.runtime.console import say
from mora.runtime.folder import RunFolder
from mora.runtime.track import flat_config
from mora.settings.identity import identity_hash, plain, slug, to_yaml
from mora.settings.launch import launch
from mora.settings.secrets import HIDDEN, is_secret_key, masked, masked_text
from mora.stages import plan, texts

SECRET = "Sw0rdfish-and-more"
HUB = "hf_" + "AbCdEfGh" * 4

KEYS = (
    "api_key apikey apiKey API-KEY wandb_api_key token hf_token access_token auth_token use_auth_token hub.token "
    "company_token password db_password passwd passphrase secret client_secret secret_key private_key "
    "aws_secret_access_key credentials authorization Authorization jwt cookie settings.api_key"
)
NO_KEYS = (
    "tokenizer max_tokens eos_token pad_token bos_token unk_token sep_token cls_token mask_token stop_token tokens "
    "token_wise max_new_tokens decoder_start_token key keys names key_value_heads num_key_value_heads vocab_size "
    "seconds_per_token special_tokens image_token monkey sort_key objective passes author authors"
)


@pytest.mark.parametrize("key", KEYS.split())
def test_a_key_that_says_so_is_masked(key):
    assert is_secret_key(key) and masked({key.rpartition(".")[2]: SECRET}) == {key.rpartition(".")[2]: HIDDEN}
    assert SECRET not in masked_text(f"tracker.kwargs.{key}={SECRET}")
    assert SECRET not in masked_text(f"++tracker.kwargs.settings={{a: 1, {key.rpartition('.')[2]}: {SECRET}, b: 2}}")


@pytest.mark.parametrize("key", NO_KEYS.split())
def test_a_key_of_another_meaning_is_kept(key):
    assert not is_secret_key(key) and masked({key: SECRET}) == {key: SECRET}
    assert masked_text(f"model.{key}={SECRET}") == f"model.{key}={SECRET}"


FORMS = {
    "hub": HUB,
    "openai": "sk-" + "proj-a1B2" * 4,
    "github": "ghp_" + "a1B2" * 9,
    "aws": "AKIA" + "ABCD" * 4,
    "slack": "xoxb-1234567890-abc",
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_value_of_a_known_form_is_masked(name):
    assert FORMS[name] not in json.dumps(masked({"note": [f"use {FORMS[name]} here"]}))
    assert masked_text(f"dataset.path=s3://x?{FORMS[name]}") == f"dataset.path=s3://x?{HIDDEN}"


def test_the_part_of_an_address_that_is_secret_is_masked():
    assert masked({"path": f"https://me:{SECRET}@host/x"}) == {"path": f"https://{HIDDEN}@host/x"}
    assert SECRET not in masked_text(f"error: Authorization: Bearer {SECRET}")


@pytest.mark.parametrize(
    "value",
    ["<|endoftext|>", "[PAD]", "sk-learn", "hf_rlhf", "gpt2", "0" * 40, "https://host/x", "a@b", 3, 0.5, None, True],
)
def test_an_ordinary_value_is_kept(value):
    kept = {"eos_token": value, "revision": value, "use_auth_token": value if value in (None, True) else None}
    assert masked(kept) == kept


def test_forty_hexadecimal_digits_are_a_secret_under_a_key_only():
    digits = "0123456789" * 4
    assert masked({"wandb_key": digits, "revision": digits}) == {"wandb_key": HIDDEN, "revision": digits}
    assert digits not in masked_text(f"tracker.kwargs.key={digits}")


def test_what_a_secret_variable_holds_is_masked_wherever_it_stands(monkeypatch):
    monkeypatch.setenv("MY_COMPANY_TOKEN", SECRET)
    monkeypatch.setenv("EDITOR", "an-ordinary-editor")
    assert masked({"name": f"run-{SECRET}-1", "editor": "an-ordinary-editor"}) == {
        "name": f"run-{HIDDEN}-1", "editor": "an-ordinary-editor"
    }  # fmt: skip
    assert SECRET not in masked_text(f"cannot open {SECRET}") and SECRET not in slug(f"a={SECRET}")


OVERRIDES = [
    "tracker=wandb",
    "+tracker.kwargs.settings={api_key: " + SECRET + ", quiet: true}",
    f"tracker.project={HUB}",
    "model=micro",
    "algo=sft",
]


def test_nothing_of_a_run_folder_has_a_secret(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = mora.compose(*OVERRIDES)
    assert plain(cfg)["tracker"]["kwargs"]["settings"]["api_key"] == SECRET  # the tracker itself is handed it
    (stage,) = plan(cfg, OVERRIDES)
    folder = RunFolder.open(tmp_path / "runs", stage.slug, stage.identity | {"token": SECRET}, **texts(stage))
    with folder.lock():
        folder.finish({"note": f"password={SECRET}"})
    written = "".join(path.read_text() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert SECRET not in written and HUB not in written and written.count(HIDDEN) >= 5
    config = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert config["tracker"]["kwargs"]["settings"] == {"api_key": HIDDEN, "quiet": True}
    assert SECRET not in json.dumps(flat_config(to_yaml(cfg)))


def test_a_secret_does_not_enter_the_identity():
    one, other = ({"a": 1, "api_key": value} for value in (SECRET, "another-one"))
    assert identity_hash(one) == identity_hash(other) != identity_hash({"a": 2, "api_key": SECRET})


def test_nothing_of_a_sweep_has_a_secret(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["-m", "seed=1,2", f"+tracker.kwargs.api_key={SECRET}", "tracker=wandb"]

    def fail(cfg, overrides):
        say(f"api_key={cfg.tracker.kwargs.api_key}")
        raise InputError(f"the service refused api_key={cfg.tracker.kwargs.api_key}")

    assert launch("train", fail, argv) == 2
    said = capsys.readouterr()
    assert SECRET not in said.err + said.out and HIDDEN in said.err
    paths = [*tmp_path.rglob("*")]
    cells = [path.read_text() for path in paths if path.name == "cell.json"]
    assert len(cells) == 2 and all(HIDDEN in cell and SECRET not in cell for cell in cells)
    assert not any("Sw0rdfish" in str(path) for path in paths)


def test_a_message_of_the_check_has_no_secret(capsys):
    assert launch("train", lambda *_: None, [f"tracker.kwargs.api_key={SECRET}", f"sede={HUB}"]) == 2
    said = capsys.readouterr().err
    assert SECRET not in said and HUB not in said and re.search("sede", said)
