"""A secret of a command line, a file or the environment is written nowhere; what only looks like one is kept."""

from __future__ import annotations

import json
import re

import pytest
import yaml

import mora
from mora.errors import InputError
from mora.run.plan import plan, texts
from mora.runtime.console import say
from mora.runtime.folder import RunFolder
from mora.runtime.track import flat_config
from mora.settings.identity import identity_hash, plain, slug, to_yaml
from mora.settings.launch import launch
from mora.settings.secrets import HIDDEN, is_secret_key, masked, masked_text

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
    "seconds_per_token special_tokens image_token monkey sort_key objective passes author authors "
    "target_token yes_token no_token response_token yesToken reward_token secretary"
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
    "slack app": "xapp-1-A0123456789-abc",
    "wandb": "wandb_v1_" + "a1B2_" * 6,
    "npm": "npm_" + "a1B2" * 9,
    "google": "AIza" + "a1-_B" * 7,
    "aws for a session": "ASIA" + "ABCD" * 4,
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
}


@pytest.mark.parametrize("name", FORMS)
def test_a_value_of_a_known_form_is_masked(name):
    assert FORMS[name] not in json.dumps(masked({"note": [f"use {FORMS[name]} here"]}))
    assert masked_text(f"dataset.path=s3://x?{FORMS[name]}") == f"dataset.path=s3://x?{HIDDEN}"


def test_the_part_of_an_address_that_is_secret_is_masked():
    assert masked({"path": f"https://me:{SECRET}@host/x"}) == {"path": f"https://{HIDDEN}@host/x"}
    assert SECRET not in masked_text(f"error: Authorization: Bearer {SECRET}")
    assert masked({"path": f"s3://AKIA{'ABCD' * 4}:{SECRET}/x@bucket/y"}) == {"path": f"s3://{HIDDEN}@bucket/y"}
    assert masked({"path": f"https://{SECRET}@host/x"}) == {"path": f"https://{HIDDEN}@host/x"}


@pytest.mark.parametrize("name", "access_token token X-Amz-Signature X-Amz-Security-Token sig api_key key".split())
def test_what_an_address_is_signed_with_is_masked(name):
    address = f"https://host/x?part=1&{name}={SECRET}&page=2"
    shown = f"https://host/x?part=1&{name}={HIDDEN}&page=2"
    assert (
        masked({"path": address}) == {"path": shown} and masked_text(f"cannot read {address}") == f"cannot read {shown}"
    )


def test_a_private_key_is_masked_as_a_whole():
    begin, end = "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"
    assert masked({"a": f"x {begin}\n{SECRET}\n{SECRET}\n{end} y"}) == {"a": f"x {HIDDEN} y"}
    assert SECRET not in masked_text(f"{begin}\n{SECRET}")  # cut off


@pytest.mark.parametrize(
    "value",
    [
        "<|endoftext|>",
        "[PAD]",
        "sk-learn",
        "hf_rlhf",
        "gpt2",
        "0" * 40,
        "https://host/x",
        "git@host:x",
        "https://host/x?page=2",
        "a@b",
        3,
        0.5,
        None,
        True,
    ],
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


NESTED = [
    "tracker.kwargs={settings: {api_key: SECRET}}",
    "++tracker.kwargs={a: {b: {settings: {api_key: SECRET, quiet: true}}}}",
    "tracker.kwargs={list: [{api_key: SECRET}]}",
    "start.sft=['tracker.kwargs.api_key=SECRET']",
    "start.sft=[tracker.kwargs.api_key=SECRET,algo.steps=5]",
    "start.sft=['tracker.kwargs={settings: {api_key: SECRET}}']",
    "tracker.kwargs={headers: {Authorization: Token SECRET}}",
    "tracker.kwargs.headers={Authorization: 'Token SECRET'}",
    "tracker.kwargs.settings.api_key=another-one,SECRET",
    "tracker.kwargs.settings.api_key=choice(another-one,SECRET)",
    "tracker.kwargs.settings={api_key: another-one},{api_key: SECRET}",
    'tracker.kwargs.password="pa\\"ss SECRET"',
    'tracker.kwargs={password: "pa\\"ss SECRET"}',
    "tracker.kwargs={password: {now: SECRET, before: [SECRET]}}",
    "tracker.kwargs.settings={api_key SECRET",  # cannot be read
    "hydra.sweeper.params={tracker.kwargs.api_key: 'another-one,SECRET'}",
]


@pytest.mark.parametrize("override", [text.replace("SECRET", SECRET) for text in NESTED])
def test_a_secret_in_an_inline_value_is_masked(override):
    shown = masked({"overrides": ["seed=1", override, "algo.steps=5"]})["overrides"]
    assert SECRET not in str(shown) and HIDDEN in shown[1] and [shown[0], shown[2]] == ["seed=1", "algo.steps=5"]
    assert shown[1].partition("=")[0] == override.partition("=")[0]
    assert "Sw0rdfish" not in slug(" ".join(masked(["train", override])))
    if not override.endswith("{api_key " + SECRET):
        assert SECRET not in masked_text(f"error: [{override} seed=1] refused")


@pytest.mark.parametrize("after", [",seed=1", " seed=1", ",+seed=1", "&b=1", "\nb=1", ""])
def test_a_masked_value_ends_where_the_next_begins(after):
    assert masked_text(f"a=1,api_key=hunter2,hunter3{after}") == f"a=1,api_key={HIDDEN}{after}"


USERS = {
    "dataset": {
        "columns": {"secret": "score_secret", "password": "a_password"},
        "test_where": {"token": "held_out", "api_key": 17},
        "floors": {"secret": 3},
    },
    "reward": {"models": {"secret": {"path": "models/secret", "token": "yes"}}},
    "evaluation": {"sections": {"secrets": ["a", "b"]}, "weights": {"password": 1, "cookie": 2}},
    "task": {"shares": {"jwt": 1, "token": 2}},
    "model": {"config": {"target_token": "yes please", "response_token": "### Answer"}},
}


def test_names_that_the_user_chooses_are_kept():
    assert masked(USERS) == USERS and masked(masked(USERS), USERS) == USERS
    texts = [
        "dataset.columns.secret=score_secret",
        "dataset.columns={secret: score_secret}",
        "reward.models.token.a=bcd",
        "runs={token: panacea-garden-0, secret: panacea-garden-1}",
    ]
    assert masked(texts) == texts and masked_text(" ".join(texts)) == " ".join(texts)


@pytest.mark.parametrize("section", ["columns", "test_where", "floors"])
def test_two_trainings_under_such_names_have_two_identities(section):
    one, other = ({"dataset": {section: {"secret": value}}} for value in ("a", "b"))
    assert identity_hash(one) != identity_hash(other)


def test_a_value_of_a_known_form_is_masked_under_a_name_too():
    assert masked({"dataset": {"columns": {"secret": HUB}}}) == {"dataset": {"columns": {"secret": HIDDEN}}}
    assert HUB not in str(masked([f"dataset.columns.secret={HUB}"]))


def test_results_under_names_are_kept(tmp_path):
    folder = RunFolder.open(tmp_path, "a", {"a": 1}, config="", overrides="", diff="")
    summary = {"accuracy": {"secret": 0.5, "token": 1.0}, "rows": {"password": 12}, "note": f"use {HUB}"}
    with folder.lock():
        folder.finish(summary)
    assert folder.summary == summary | {"note": f"use {HIDDEN}"}
    assert masked_text("secret: 0.52, helpful: 0.31") == "secret: 0.52, helpful: 0.31"


def test_a_secret_that_another_setting_repeats_is_masked_there_too():
    settings = {"tracker": {"kwargs": {"settings": {"api_key": SECRET, "token": "short"}}, "project": f"my-{SECRET}"}}
    assert masked(settings)["tracker"]["project"] == f"my-{HIDDEN}"
    assert masked({"model": {"path": SECRET, "kind": "short"}}, settings) == {
        "model": {"path": HIDDEN, "kind": "short"}
    }
    assert SECRET not in str(masked([f"tracker.kwargs.api_key={SECRET}", f"tracker.project={SECRET}"]))
    assert SECRET not in masked_text(f"api_key={SECRET} project={SECRET}")


def test_a_setting_that_refers_to_a_secret_brings_it_into_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ["tracker=wandb", f"tracker.kwargs.settings.api_key={SECRET}", "model=micro", "algo=sft"]
    overrides += ["tracker.project=${tracker.kwargs.settings.api_key}", f"model.revision={SECRET}"]
    (stage,) = plan(mora.compose(*overrides), overrides)
    assert SECRET not in "".join(texts(stage).values()) + json.dumps(stage.identity)
    config = yaml.safe_load(texts(stage)["config"])
    assert config["tracker"]["project"] == config["model"]["revision"] == HIDDEN


@pytest.mark.parametrize(
    ("override", "seeds"),
    [
        (f"tracker.kwargs.settings.api_key={SECRET}", "1,2"),
        (f"tracker.kwargs.settings.api_key={SECRET},{SECRET}-2", "1"),
        ("tracker.kwargs={settings: {api_key: " + SECRET + "}}", "1"),
        (f"start.sft=['tracker.kwargs.api_key={SECRET}']", "1"),
    ],
)
def test_no_file_and_no_folder_of_a_sweep_has_a_secret(tmp_path, monkeypatch, override, seeds):
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def task(cfg, overrides):
        seen.extend(str(path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file())
        return cfg.seed

    assert launch("train", task, ["-m", "tracker=wandb", override, f"seed={seeds}"]) == 0
    paths = [*(tmp_path / "runs").rglob("*")]
    files = {path: path.read_bytes().decode() for path in paths if path.is_file()}
    assert {path.name for path in files} == {"multirun.yaml", "cell.json"}
    assert all(HIDDEN in text and SECRET not in text for text in [*files.values(), *seen])
    assert not any("Sw0rdfish" in str(path) for path in paths)
    record = next(yaml.safe_load(text) for path, text in files.items() if path.name == "multirun.yaml")
    assert f"seed={seeds}" in record["hydra"]["overrides"]["task"] and record["seed"] == (0 if "," in seeds else 1)
