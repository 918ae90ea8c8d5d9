"""Classifiers that others trained: their scores are those of one text alone, whatever stands beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.reward.classifiers import ENCODERS, SHAPES, classifier, decoder_tokenizer, encoder_tokenizer, plain
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer

import mora
from mora.errors import InputError
from mora.files import read_json, write_json
from mora.functional.classification import log_odds
from mora.model.classifier import write_classifier
from mora.model.sequence_classifier import SequenceClassifier
from mora.reward.hub import Hub
from mora.reward.hub_scorer import HubScorer
from mora.reward.scalar import Scalar
from mora.reward.scorer import ModelScorer
from mora.reward.scoring import score_answers
from mora.reward.stored import load_scorer, load_trained
from mora.reward.texts import Texts
from mora.turns import joined

PROMPTS = ["a b c", "d", "e f g h i j a b", "c c"]
RESPONSES = ["a", "b c d e f g", "h", "i j"]
TEXT = "user : {prompt} answer : {response} {eos}"
BARE = "user : {prompt} answer : {response}"


def hub(models: dict[str, Any], **changed: Any) -> Hub:
    fields: dict[str, Any] = {
        "models": models,
        "revision": None,
        "label": None,
        "form": "logit",
        "sign": 1,
        "zero": False,
        "chat": TEXT,
        "read": "classifier",
        "max_length": 60,
        "template_date": "2024-07-26",
        "batch_size": 3,
        "dtype": "float32",
    }
    return Hub(**fields | changed)


def opened(models: dict[str, Any], **changed: Any) -> HubScorer:
    return HubScorer.open(hub(models, **changed), tuple(models), "cpu")


def scores(scorer: ModelScorer | HubScorer) -> torch.Tensor:
    return scorer.raw(PROMPTS, RESPONSES).atoms.squeeze(-1)


def filled(prompt: str, response: str, text: str = TEXT) -> str:
    return text.replace("{prompt}", prompt).replace("{response}", response).replace("{eos}", "<eos>")


@pytest.mark.parametrize("model_type", [name for name in SHAPES if name not in ENCODERS])
@pytest.mark.parametrize("pad", ["<pad>", "<eos>", None])
@pytest.mark.parametrize("text", [TEXT, BARE])
def test_scores_are_those_of_the_classifier_on_one_text_alone(tmp_path: Path, model_type, pad, text) -> None:
    """Also where the end token pads and the text ends with it, and where there is no padding token."""
    folder = classifier(tmp_path / "model", model_type, pad=pad)
    found = scores(opened({"help": str(folder)}, chat=text))
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        torch.testing.assert_close(found[row], plain(folder, filled(prompt, response, text)), atol=1e-5, rtol=1e-5)
    assert found.std() > 0.1


@pytest.mark.parametrize("model_type", ENCODERS)
def test_an_encoder_reads_prompt_and_answer_as_a_pair_or_as_one_text(tmp_path: Path, model_type: str) -> None:
    folder = classifier(tmp_path / "model", model_type)
    pair, whole = (scores(opened({"help": str(folder)}, chat=chat)) for chat in ("pair", BARE))
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        torch.testing.assert_close(pair[row], plain(folder, prompt, response), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(whole[row], plain(folder, filled(prompt, response, BARE)), atol=1e-5, rtol=1e-5)
    assert (pair - whole).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", [name for name in SHAPES if name not in ENCODERS])
@pytest.mark.parametrize("read", ["classifier", "last"])
def test_padding_on_either_side_and_with_any_token_moves_no_score(tmp_path: Path, model_type, read) -> None:
    model = SequenceClassifier.load(classifier(tmp_path / "model", model_type, pad="<eos>"), dtype="float32")
    eos = model.tokenizer.eos_token_id
    texts = [([6, 7, 8, eos], None), ([9, 8, 7, 6, 5, 9, eos], None)]
    alone = torch.cat([model.logits(*model._padded([text], 0, eos), read=read) for text in texts])
    for left, token in ((False, eos), (True, eos), (False, 5), (True, 5)):
        together = model.logits(*model._padded(texts, 2, token, left=left), read=read)
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_last_token_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    """A padding token at the end is not what stock code reads; with another padding token both are the same."""
    same, apart = (classifier(tmp_path / name, pad=name) for name in ("<pad>", "<eos>"))
    for folder, alike in ((same, True), (apart, False)):
        by_classifier, last = (scores(opened({"help": str(folder)}, read=read)) for read in ("classifier", "last"))
        assert torch.allclose(by_classifier, last, atol=1e-6) == alike
        if not alike:
            config = read_json(folder / "config.json")
            write_json(folder / "config.json", config | {"pad_token_id": None})  # then stock code reads the last
            for row in range(len(PROMPTS)):
                expected = plain(folder, filled(PROMPTS[row], RESPONSES[row]))
                torch.testing.assert_close(last[row], expected, atol=1e-5, rtol=1e-5)


def test_the_chat_template_is_followed_without_a_second_begin_token(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "model")
    found = scores(opened({"help": str(folder)}, chat="template"))
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        text = f"<bos> {prompt} <answer> {response} <eos>"
        torch.testing.assert_close(found[row], plain(folder, text), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores(opened({"help": str(folder)}, chat="answer")), found)


def test_a_token_that_the_text_and_the_tokenizer_both_add_stands_once() -> None:

    tokenizer = decoder_tokenizer()
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", bos), ("<eos>", eos)]
    )
    expected = tokenizer("user : a answer : b")["input_ids"]
    assert expected[0] == bos and expected[-1] == eos
    for text in (BARE, TEXT, "{bos} " + BARE, "{bos} " + TEXT):
        assert Texts(tokenizer, text, 60, "model")("a", "b")[0] == expected
    assert Texts(tokenizer, "template", 60, "model")("a", "b")[0].count(bos) == 1


def test_a_long_text_loses_the_beginning_of_its_prompt_then_of_its_answer() -> None:
    tokenizer = decoder_tokenizer()

    def read(texts: Texts, prompt: str, response: str) -> str:
        return tokenizer.decode(texts(prompt, response)[0])

    texts = Texts(tokenizer, TEXT, 10, "model")
    assert read(texts, "a b c d", "e") == "user : a b c d answer : e <eos>"
    assert read(texts, "a b c d e", "f") == "user : b c d e answer : f <eos>"
    assert read(texts, "a b", "a b c d e f g h i j") == "user : answer : f g h i j <eos>"
    assert dict(texts.counts) == {"texts": 3, "prompts_cut": 1, "answers_cut": 1}
    assert [note.split(" texts lost ")[0] for note in texts.notes()] == ["model: 1 of 3", "model: 1 of 3"]
    with pytest.raises(InputError, match=r"reward.max_length=4: model takes 5 tokens without any text"):
        Texts(tokenizer, TEXT, 4, "model")("a", "b")


CONVERSATION = [("user", "a b"), ("assistant", "c"), ("user", "d"), ("assistant", "e f"), ("user", "g h i")]


def spoken(*said: tuple[str, str]) -> str:
    return joined([{"role": role, "content": content} for role, content in said])  # type: ignore[typeddict-item]


def read_as(chat: str, limit: int, prompt: str, response: str) -> tuple[str, dict[str, int]]:
    tokenizer = decoder_tokenizer()
    texts = Texts(tokenizer, chat, limit, "model")
    ids, _ = texts(prompt, response)
    assert len(ids) <= limit
    return tokenizer.decode(ids), dict(texts.counts)


def test_a_conversation_is_read_whole_in_every_form() -> None:
    prompt = spoken(*CONVERSATION)
    for chat in ("template", "answer"):
        whole = "<bos> a b <answer> c <eos> d <answer> e f <eos> g h i <answer> j <eos>"
        assert read_as(chat, 60, prompt, "j") == (whole, {"texts": 1})
    tokenizer = decoder_tokenizer()
    ids, _ = Texts(tokenizer, TEXT, 60, "model")(spoken(("user", "a"), ("assistant", "b"), ("user", "c")), "d")
    read = tokenizer("user : User: a\n\nAssistant: b\n\nUser: c answer : d <eos>")["input_ids"]
    assert ids == read
    pair = encoder_tokenizer(types=True)
    assert Texts(pair, "pair", 60, "model")(spoken(("system", "a"), ("user", "c")), "d") == (
        pair("System: a\n\nUser: c", "d")["input_ids"],
        pair("System: a\n\nUser: c", "d")["token_type_ids"],
    )


@pytest.mark.parametrize("chat", ["template", "answer"])
@pytest.mark.parametrize("system", [[], [("system", "j j")]])
def test_a_long_conversation_loses_exchanges_then_its_last_turn_then_the_answer(chat: str, system: list) -> None:
    start, room = ("<bos> j j <answer> ", 3) if system else ("<bos> ", 0)
    prompt = spoken(*system, *CONVERSATION)
    for limit, read, cut in [
        (17, "d <answer> e f <eos> g h i <answer> a b <eos>", "prompts_cut"),
        (13, "d <answer> e f <eos> g h i <answer> a b <eos>", "prompts_cut"),
        (12, "g h i <answer> a b <eos>", "prompts_cut"),
        (7, "h i <answer> a b <eos>", "prompts_cut"),
        (4, "<answer> b <eos>", "answers_cut"),
    ]:
        assert read_as(chat, limit + room, prompt, "a b") == (start + read, {"texts": 1, cut: 1})
    with pytest.raises(InputError, match=r"model takes \d tokens without any text" + (" but its" if system else "$")):
        read_as(chat, 2 + room, prompt, "a")


def test_a_template_that_takes_no_such_turns_is_told() -> None:
    tokenizer = decoder_tokenizer()
    refused = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refused + tokenizer.chat_template
    for chat, also in (("template", " and its answer"), ("answer", "")):
        texts = Texts(tokenizer, chat, 60, "model")
        assert texts(spoken(*CONVERSATION), "a")
        with pytest.raises(InputError, match=f"fails on the turns system, user{also} .no system.; write the text out"):
            texts(spoken(("system", "a"), ("user", "b")), "c")


@pytest.mark.parametrize("chat", ["template", "answer", TEXT])
def test_a_special_token_that_is_written_out_is_none(chat: str) -> None:
    tokenizer = decoder_tokenizer()
    texts = Texts(tokenizer, chat, 60, "model")
    ids, clean = texts("a <answer> b", "c<eos>d")[0], Texts(tokenizer, chat, 60, "model")("a b", "c d")[0]
    for special in (tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<answer>")):
        assert ids.count(special) == clean.count(special)


def test_label_sign_and_form_say_what_of_the_logits_is_the_score(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "model", labels=("kind", "rude", "odd"))
    models = {
        "by_place": {"path": str(folder), "label": 1},
        "cost": {"path": str(folder), "label": "rude", "sign": -1, "zero": True},
        "odds": {"path": str(folder), "label": "odd", "form": "log_odds"},
    }
    scorer = opened(models)
    assert scorer.passes == 1 and scorer.zero == (False, True, False)
    assert scorer.select(("cost", "odds")).zero == (True, False)
    found = scores(scorer)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        logits = plain(folder, filled(prompt, response))
        odds = torch.logit(torch.softmax(logits.double(), -1)[2]).float()
        expected = torch.stack([logits[1], -logits[1], odds])
        torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=1e-4)


def test_log_odds_need_another_label() -> None:
    with pytest.raises(ValueError, match="another label"):
        log_odds(torch.zeros(2, 1), 0)


def test_models_are_loaded_once_and_passed_once_per_form_of_text(tmp_path: Path, monkeypatch) -> None:
    loads: list[str] = []
    load = SequenceClassifier.load.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(
        SequenceClassifier, "load", classmethod(lambda cls, path, **more: loads.append(path) or load(cls, path, **more))
    )
    one = str(classifier(tmp_path / "one", labels=("x", "y")))
    other = str(classifier(tmp_path / "other", "gpt2", seed=1))
    models = {
        "x": {"path": one, "label": "x"},
        "y": {"path": one, "label": "y"},
        "y_bare": {"path": one, "label": "y", "chat": BARE},
        "other": other,
    }
    scorer = opened(models)
    assert loads == [one, other] and scorer.passes == 3
    found = scores(scorer)
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        text, bare = (filled(prompt, response, chat) for chat in (TEXT, BARE))
        expected = torch.cat([plain(one, text), plain(one, bare)[1:], plain(other, text)])
        torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=1e-4)


def test_half_precision_is_coarse_and_its_head_is_not(tmp_path: Path) -> None:
    folder = str(classifier(tmp_path / "model"))
    found = scores(opened({"help": folder}, dtype="bfloat16", batch_size=1))
    assert found.dtype == torch.float32 and not torch.equal(found, found.bfloat16().float())
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        expected = plain(folder, filled(prompt, response), dtype=torch.bfloat16).float()
        torch.testing.assert_close(found[row], expected, atol=1e-2, rtol=2**-8)  # what rounding the score costs


@pytest.mark.parametrize("chat", ["template", "answer"])
def test_an_exported_reward_model_scores_as_it_did(
    tmp_path: Path, make_scorer: Callable[..., ModelScorer], chat
) -> None:
    scorer = make_scorer(Scalar(margin=0.0, strength="ignore", centering=0.0, l2=0.0))
    units = scorer.standardize(PROMPTS, RESPONSES, provenance={})
    (tmp_path / "export").mkdir()
    facts = write_classifier(
        scorer.model,
        tmp_path / "export",
        objectives=scorer.objectives,
        shift=units.shift[:, None],
        std=units.std[:, None],
        sequences=[[6, 7, scorer.encoder.eos]],
    )
    models = {name: {"path": str(tmp_path / "export"), "label": name} for name in scorer.objectives}
    found = scores(opened(models, chat=chat)) + torch.tensor(facts["constants"])
    torch.testing.assert_close(found, scorer.score(PROMPTS, RESPONSES).atoms.squeeze(-1), atol=1e-4, rtol=1e-4)


def test_a_card_brings_the_scorer_back_with_its_units(tmp_path: Path, monkeypatch) -> None:
    classifier(tmp_path / "model", labels=("x", "y"))
    monkeypatch.chdir(tmp_path)
    models = {"x": {"path": "model", "label": "x"}, "y": {"path": "model", "label": 1, "sign": -1, "zero": True}}
    scorer = opened(models)
    scorer.standardize(PROMPTS, RESPONSES, provenance={"run": "r"})
    scorer.save(tmp_path / "runs" / "one" / "reward")
    card = read_json(tmp_path / "runs" / "one" / "reward" / "reward.json")
    assert card["kind"] == "hub" and set(card["models"][0]["content"]) >= {"model.safetensors", "tokenizer.json"}
    monkeypatch.chdir("/")
    loaded = load_scorer(tmp_path / "runs" / "one" / "reward", "cpu", batch_size=2)
    assert isinstance(loaded, HubScorer) and loaded.batch_size == 2 and loaded.zero == (False, True)
    torch.testing.assert_close(
        loaded.score(PROMPTS, RESPONSES).atoms, scorer.score(PROMPTS, RESPONSES).atoms, atol=1e-4, rtol=1e-4
    )
    moved = shutil.move(tmp_path, tmp_path.with_name(f"{tmp_path.name}-moved"))  # runs and models together
    again = load_scorer(Path(moved) / "runs" / "one" / "reward", "cpu")
    torch.testing.assert_close(again.score(PROMPTS, RESPONSES).atoms, scorer.score(PROMPTS, RESPONSES).atoms)
    rows = score_answers(again, [{"prompt": p, "response": r} for p, r in zip(PROMPTS, RESPONSES, strict=True)])
    assert rows[1]["scores"]["y"]["mean"] == pytest.approx(scorer.score(PROMPTS, RESPONSES).atoms[1, 1, 0].item())


def test_a_classifier_that_changed_or_went_is_refused(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "model")
    scorer = opened({"help": str(folder)})
    scorer.standardize(PROMPTS, RESPONSES, provenance={})
    scorer.save(tmp_path / "reward")
    with pytest.raises(InputError, match="holds no trained model: its scores are those of .*/model"):
        load_trained(tmp_path / "reward", "cpu")
    classifier(folder, seed=1)
    with pytest.raises(InputError, match=r"model has changed since .*reward\.json was written"):
        load_scorer(tmp_path / "reward", "cpu")
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="the classifier .*/model is gone"):
        load_scorer(tmp_path / "reward", "cpu")


def test_a_model_of_the_hub_is_pinned_to_its_commit(tmp_path: Path, monkeypatch) -> None:
    commit = "1234567890" * 4
    snapshot = classifier(tmp_path / "snapshots" / commit)
    asked: list[Any] = []

    def info(api: Any, path: str, *, revision: str | None, timeout: float) -> Any:
        asked.append(revision)
        return SimpleNamespace(sha=commit)

    load = SequenceClassifier.load.__func__  # type: ignore[attr-defined]

    def loaded(cls: Any, path: str, *, revision: str | None, **more: Any) -> SequenceClassifier:
        asked.append(revision)
        return load(cls, snapshot if path == "org/model" else path, **more)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
    monkeypatch.setattr(SequenceClassifier, "load", classmethod(loaded))
    scorer = opened({"help": "org/model"}, revision="main")
    scorer.standardize(PROMPTS, RESPONSES, provenance={})
    scorer.save(tmp_path / "reward")
    assert read_json(tmp_path / "reward" / "reward.json")["models"][0]["commit"] == commit
    again = load_scorer(tmp_path / "reward", "cpu")
    torch.testing.assert_close(scores(again), scores(scorer))
    assert asked == ["main", commit, commit]


# --- what is refused --------------------------------------------------------------------------------------------------


def causal(folder: Path) -> None:
    AutoModelForCausalLM.from_config(SequenceClassifier.load(folder, dtype="float32").model.config).save_pretrained(
        folder
    )


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def biased(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"score.bias": torch.ones(1)}, folder / "model.safetensors", {"format": "pt"})


def narrow(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        tensors | {"score.weight": tensors["score.weight"][:, :8].clone()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def other_tokenizer(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["more", "words"])
    tokenizer.save_pretrained(folder)


def without_template(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)


def failing_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no answers here') }}")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "changed", "message"),
    [
        (causal, {}, r"the weights lack score\.weight .* no stock sequence classifier"),
        (pickled, {}, "pytorch_model.bin is a pickle"),
        (without_weights, {}, r"it holds no \*\.safetensors"),
        (biased, {}, r"does not read score\.bias"),
        (narrow, {}, r"score\.weight is stored as .*weights and configuration are of two models"),
        (other_tokenizer, {}, r"the tokenizer has token \d+ .*, and the model embeddings for \d+"),
        (without_template, {"chat": "template"}, "its tokenizer has no chat template"),
        (failing_template, {"chat": "template"}, "no answers here"),
        (None, {"label": "nice"}, r"there is no label nice; it has 0 \(score\)"),
        (None, {"label": 1}, r"there is no label 1; it has 0 \(score\)"),
        (None, {"label": -1}, r"reward\.label=-1: "),
        (None, {"form": "log_odds"}, "form=log_odds has nothing to hold it against"),
        (None, {"max_length": 4096}, "reward.max_length=4096: .* reads at most 2048 tokens"),
        (None, {"revision": "main"}, "is a folder, which has no revision=main"),
    ],
)
def test_a_classifier_that_cannot_score_is_refused(tmp_path: Path, spoil, changed, message: str) -> None:
    folder = classifier(tmp_path / "model")
    if spoil is not None:
        spoil(folder)
    with pytest.raises(InputError, match=message):
        opened({"help": str(folder)}, **changed)


def test_a_classifier_that_reads_an_end_token_needs_one_in_every_text(tmp_path: Path) -> None:
    """BART's own code fails on a text without one."""
    folder = str(classifier(tmp_path / "model", "bart"))
    scorer = opened({"help": folder}, chat="pair")
    expected = [plain(folder, prompt, response) for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]
    torch.testing.assert_close(scorer.raw(PROMPTS, RESPONSES).atoms[:, 0], torch.stack(expected), atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B:1", special_tokens=[("[CLS]", 0)]
    )
    tokenizer.save_pretrained(folder)
    for chat in ("pair", BARE):
        with pytest.raises(InputError, match=r"BartForSequenceClassification reads the end token '\[SEP\]'"):
            opened({"help": folder}, chat=chat)


@pytest.mark.parametrize(
    ("entry", "changed", "message"),
    [
        (3, {}, r"reward\.models\.help: give a folder or hub id"),
        ({"label": 0}, {}, r"reward\.models\.help: give a folder or hub id"),
        ({"path": "x", "sgin": 1}, {}, r"reward\.models\.help: takes path, revision.*, not sgin"),
        ({"path": "x", "sign": 2}, {}, r"reward\.models\.help\.sign=2: must be 1"),
        ({"path": "x", "label": 0}, {"sign": 0}, r"^reward\.sign=0: must be 1"),
        ("x", {"form": "odds"}, r"reward\.form=odds"),
        ("x", {"read": "first"}, r"reward\.read=first"),
        ({"path": "x", "zero": 1}, {}, r"help\.zero=1: must be true or false"),
        ({"path": "x", "label": 0.5}, {}, r"help\.label=0\.5"),
        ({"path": "x", "max_length": 0}, {}, r"help\.max_length=0"),
        (
            "x",
            {"chat": "templates"},
            r"reward\.chat=templates: use template, answer, pair, or a text with \{response\}",
        ),
        ("x", {"chat": "{response} {end}"}, r"reward\.chat="),
        ("x", {"batch_size": 0}, r"reward\.batch_size=0"),
        ("x", {"dtype": "float8"}, r"reward\.dtype=float8"),
    ],
)
def test_settings_that_mean_nothing_are_refused(entry, changed, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hub({"help": entry}, **changed)


def test_the_form_of_texts_is_taken_as_it_stands_on_the_command_line() -> None:
    text = "BEGINNING OF CONVERSATION: USER: {prompt} ASSISTANT:{response}{eos}"
    cfg = mora.compose("reward=hub", f"reward.chat={text}", "reward.models.cure.path=a=b, c", "reward.models.care=x/y")
    assert cfg.reward.chat == text and cfg.reward.models == {"cure": {"path": "a=b, c"}, "care": "x/y"}


@pytest.mark.parametrize(("model_type", "limit"), [("llama", 2048), ("gpt2", 1024), ("bert", 64), ("roberta", 64)])
def test_the_longest_text_is_what_positions_allow(tmp_path: Path, model_type: str, limit: int) -> None:
    """RoBERTa's positions begin after that of its padding token: 66 rows hold 64."""
    model = SequenceClassifier.load(classifier(tmp_path / "model", model_type), dtype="float32")
    assert model.limit == limit
    if model_type in ENCODERS:
        model.logits(*model.padded([([4] * limit, None)]))
        with pytest.raises((IndexError, RuntimeError)):
            model.logits(*model.padded([([4] * (limit + 1), None)]))


def test_every_objective_has_a_model_and_every_model_an_objective(tmp_path: Path) -> None:
    folder = str(classifier(tmp_path / "model"))
    with pytest.raises(InputError, match=r"reward\.models: no model for safe"):
        HubScorer.open(hub({"help": folder}), ("help", "safe"), "cpu")
    with pytest.raises(InputError, match=r"has safe, but the objectives are help"):
        HubScorer.open(hub({"help": folder, "safe": folder}), ("help",), "cpu")


def test_a_place_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        opened({"help": str(tmp_path / "nowhere")})

    with pytest.raises(InputError, match=r"the hub cannot be reached .*, .* has no copy of org/absent"):
        opened({"help": "org/absent"})


def test_a_field_that_the_tokenizer_lacks_is_refused(tmp_path: Path) -> None:
    folder = str(classifier(tmp_path / "model", "bert"))
    with pytest.raises(InputError, match="its tokenizer has no eos token"):
        opened({"help": folder}, chat=TEXT)


def test_scores_that_depend_on_the_batch_are_refused(tmp_path: Path, monkeypatch) -> None:
    """An architecture whose own code reads the padding, and pooling that reads another token than its code."""
    bert, llama = classifier(tmp_path / "bert", "bert"), classifier(tmp_path / "llama")
    from transformers import BertForSequenceClassification

    forward = BertForSequenceClassification.forward

    def unmasked(self: Any, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> Any:
        return forward(self, input_ids, token_type_ids=token_type_ids)

    with monkeypatch.context() as patch:
        patch.setattr(BertForSequenceClassification, "forward", unmasked)
        with pytest.raises(InputError, match="right padding with token 1 moves one"):
            opened({"help": str(bert)}, chat="pair")
    monkeypatch.setattr(SequenceClassifier, "_read", lambda self, ids, mask: mask & (mask.cumsum(-1) == 1))
    with pytest.raises(InputError, match="the code of LlamaForSequenceClassification gives another"):
        opened({"help": str(llama)})


def test_the_card_is_text_that_says_what_scores(tmp_path: Path) -> None:
    folder = classifier(tmp_path / "model")
    opened({"help": str(folder)}).save(tmp_path / "reward")
    card = json.loads((tmp_path / "reward" / "reward.json").read_text())
    assert card["objectives"] == ["help"] and card["reward"]["_target_"] == "mora.reward.hub.Hub"
    assert card["standardization"] is None and card["zero"] == [False]
    with pytest.raises(InputError, match="has no reference statistics"):
        load_scorer(tmp_path / "reward", "cpu").score(PROMPTS, RESPONSES)
