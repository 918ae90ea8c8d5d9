from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mora.dataset import collate, tokenizing, tokens
from mora.dataset.encode import Encoder
from mora.dataset.row_writer import RowWriter
from mora.dataset.store import StoredRows
from mora.dataset.tokens import TokenizedRows, tokenized
from mora.errors import InputError
from mora.manifest import MANIFEST
from mora.model.tokenizer import train_words
from mora.turns import joined, turns_of
from mora.types import Row

WORDS = "how do ostriches run away from danger ? they very fast .".split()
OBJECTIVES = ("kind", "safe")


def _texts(seed: int, count: int, longest: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, generator.integers(1, longest + 1))) for _ in range(count)]


def _rows(count: int, responses: int, longest: int = 12) -> list[Row]:
    """Rows of one kind with texts of 1 to ``longest`` words; some prompts have several turns, some come twice."""
    texts = [_texts(seed, count, longest) for seed in range(5)]
    prompts = list(texts[0])
    for i in range(0, count, 3):
        said = [("user", texts[1][i]), ("assistant", texts[2][i]), ("user", texts[0][i])]
        prompts[i] = joined([{"role": role, "content": content} for role, content in said])
    prompts[1::7] = prompts[0::7][: len(prompts[1::7])]
    return [
        Row(
            prompt=prompts[i],
            responses=tuple(texts[3 + side][i] for side in range(responses)),
            labels={"kind": float(i % 2), "safe": None if i % 3 else 0.5} if responses == 2 else {},
            ratings={"safe": ((1.0,), (float(i), 2.0))} if responses == 2 and i % 4 == 0 else {},
            where=f"rows.jsonl:{i + 1}",
        )
        for i in range(count)
    ]


def _encoder(make_tokenizer, kind="bytes", *, cut=True, overlong="cut_answer") -> Encoder:
    return Encoder(make_tokenizer(kind), *((26, 9) if cut else (600, 600)), overlong)


def _same(first, second) -> None:
    assert type(first) is type(second)
    for name, value in vars(first).items():
        other = vars(second)[name]
        if isinstance(value, torch.Tensor):
            assert value.dtype == other.dtype and torch.equal(value, other), name
        elif name == "judgments":
            _same(value, other)
        else:
            assert value == other, name


@pytest.mark.parametrize("kind", ["bytes", "words"])
@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("responses", [0, 1, 2])
def test_batches_of_tokenized_rows_are_those_of_the_rows_to_the_bit(make_tokenizer, tmp_path, kind, cut, responses):
    rows, plain = _rows(41, responses), _encoder(make_tokenizer, kind, cut=cut)
    made = tokenized(rows, _encoder(make_tokenizer, kind, cut=cut), tmp_path, workers=1)
    reader = _encoder(make_tokenizer, kind, cut=cut)
    assert list(made) == rows and len(made) == 41
    for index in ([3, 0, 17, 40], [5], list(range(41))):
        chosen, given = [rows[i] for i in index], [made[i] for i in index]
        _same(collate.prompts(given, reader, multiple=4), collate.prompts(chosen, plain, multiple=4))
        if responses == 1:
            _same(collate.supervised(given, reader), collate.supervised(chosen, plain))
        if responses == 2:
            _same(collate.pairs(given, reader, OBJECTIVES), collate.pairs(chosen, plain, OBJECTIVES))
    assert reader.counts == {} and plain.counts["prompts"] > 0  # it tokenized nothing
    assert (plain.counts["prompts_cut"] > 5) == cut
    assert made.lengths.tolist() == [plain.length(row) for row in rows] == reader.lengths(made).tolist()
    assert made.lengths.dtype == np.int32 and reader.lengths(rows).tolist() == made.lengths.tolist()


def _used(encoder: Encoder, rows) -> list[str]:
    """What an encoder says after an epoch of the rows that it admits."""
    for row in encoder.admit(rows):
        encoder.prompt_of(row), [encoder.response_of(row, side) for side in range(len(row.responses))]
    return encoder.notes()


@pytest.mark.parametrize("overlong", ["cut_answer", "drop", "error"])
@pytest.mark.parametrize("limits", [(26, 9), (600, 600)])
def test_long_answers_go_the_same_way_with_the_same_counts_and_notes(make_tokenizer, tmp_path, overlong, limits):
    rows = _rows(60, 2)
    plain, reader = (Encoder(make_tokenizer("words"), *limits, overlong) for _ in range(2))
    made = tokenized(rows, reader, tmp_path, workers=1)
    if overlong == "error" and limits[1] < 600:
        with pytest.raises(InputError, match="rows have an answer that is too long") as expected:
            plain.admit(rows)
        with pytest.raises(InputError) as found:
            reader.admit(made)
        assert str(found.value) == str(expected.value)
        return
    assert list(reader.admit(made)) == plain.admit(rows)
    assert isinstance(reader.admit(made), TokenizedRows)
    plain, reader = (Encoder(make_tokenizer("words"), *limits, overlong) for _ in range(2))
    assert _used(reader, made) == _used(plain, rows) and bool(plain.notes()) == (limits[1] < 600)
    assert {k: v for k, v in reader.counts.items() if v} == {k: v for k, v in plain.counts.items() if v}
    view = reader.admit(made[5:50:2])
    assert list(view) == list(Encoder(make_tokenizer("words"), *limits, overlong).admit(rows[5:50:2]))
    assert [len(reader.response_of(view[0])), len(view)] == [len(view[0].tokens.responses[0]), len(view.lengths)]


def test_all_rows_would_be_left_out(make_tokenizer, tmp_path):
    rows = [Row(prompt="how", responses=("they run very fast .",), where="a.jsonl:1")]
    drop = Encoder(make_tokenizer("words"), 20, 4, "drop")
    with pytest.raises(InputError, match=r"1 of 1 rows .*\n  a.jsonl:1: 6 tokens"):
        drop.admit(tokenized(rows, drop, tmp_path, workers=1))


def test_several_processes_write_what_one_writes(make_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizing, "ROWS_AT_ONCE", 16)
    monkeypatch.setattr(tokenizing, "FEW", 2)
    with RowWriter(tmp_path / "rows", OBJECTIVES) as writer:
        for row in _rows(150, 2):
            writer.add(row)
    rows = StoredRows.open(tmp_path / "rows")
    alone = tokenized(rows, _encoder(make_tokenizer), tmp_path / "one", workers=1)
    together = tokenized(rows, _encoder(make_tokenizer), tmp_path / "two", workers=2)
    assert alone.folder.name == together.folder.name
    names = sorted(path.name for path in alone.folder.iterdir())
    assert names == sorted(path.name for path in together.folder.iterdir()) and "ids.bin" in names
    for name in names:
        assert (alone.folder / name).read_bytes() == (together.folder / name).read_bytes(), name
    own = _encoder(make_tokenizer)
    for row in (alone[0], alone[15], alone[16], alone[149]):  # of the first chunk and of later ones
        assert row.tokens.prompt.tolist() == own.prompt(row.prompt)
        assert [ids.tolist() for ids in row.tokens.responses] == [own.response(text) for text in row.responses]
    # what another process reads is the file: a list of the same rows finds the same folder
    again = tokenized(list(rows), _encoder(make_tokenizer), tmp_path / "one", workers=2)
    assert again.folder == alone.folder and list(again) == list(rows)


def test_a_second_call_opens_what_the_first_one_made(make_tokenizer, tmp_path, monkeypatch):
    rows = _rows(20, 1)
    first = tokenized(rows, _encoder(make_tokenizer), tmp_path, workers=1)
    monkeypatch.setattr(tokens, "_write", None)
    again = tokenized(rows, _encoder(make_tokenizer), tmp_path, workers=1)
    assert again.folder == first.folder and again[3].tokens.prompt.tolist() == first[3].tokens.prompt.tolist()


def test_the_folder_is_that_of_texts_tokenizer_and_limits(make_tokenizer, tmp_path):
    rows, tokenizer = _rows(9, 2), make_tokenizer("bytes")

    def name(rows=rows, tokenizer=tokenizer, limits=(26, 9), overlong="cut_answer") -> str:
        return tokenized(rows, Encoder(tokenizer, *limits, overlong), tmp_path, workers=1).folder.name

    first = name()
    tokenizer("a text", padding="max_length", max_length=9, truncation=True)  # leaves its mark in the tokenizer
    assert name() == first == name(tokenizer=make_tokenizer("bytes")) == name(overlong="drop")
    assert name([Row(prompt=row.prompt, responses=row.responses) for row in rows]) == first  # labels do not count
    other = make_tokenizer("bytes")
    other.chat_template = other.chat_template.replace("user", "asked")
    special = make_tokenizer("bytes")
    special.add_special_tokens({"additional_special_tokens": ["<more>"]})
    names = [
        name(rows[::-1]), name(rows[1:]), name(limits=(25, 9)), name(limits=(26, 8)), name(tokenizer=other),
        name(tokenizer=special), name(tokenizer=make_tokenizer("words")),
        name(tokenizer=make_tokenizer("bytes", "eos")),
    ]  # fmt: skip
    assert len({first, *names}) == 9


def test_tokens_of_another_encoder_or_of_other_texts_are_not_used(make_tokenizer, tmp_path):
    rows = _rows(6, 1)
    made = tokenized(rows, _encoder(make_tokenizer), tmp_path, workers=1)
    wide, own = _encoder(make_tokenizer, cut=False), _encoder(make_tokenizer)
    assert [wide.prompt_of(row).tolist() for row in made] == [wide.prompt(row.prompt) for row in rows]
    assert wide.lengths(made).tolist() == [wide.length(row) for row in rows]
    changed = Row(**{**vars(made[0]), "responses": ("very fast",)})  # as dataclasses.replace gives
    assert changed.tokens is not None and own.response_of(changed).tolist() == own.response("very fast")
    with pytest.raises(ValueError, match="read-only"):
        made[0].tokens.prompt[0] = 0


def test_all_rows_that_cannot_be_encoded_are_told_at_once(make_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizing, "ROWS_AT_ONCE", 4)
    rows = _rows(30, 1)
    for i in (2, 3, 11):
        rows[i] = Row(prompt="how", responses=("they </s> run",), where=f"bad.jsonl:{i}")
    texts = [text for row in rows for text in (*(turn["content"] for turn in turns_of(row.prompt)), *row.responses)]
    words = train_words([text.replace("</s>", "how") for text in texts], closed=True)
    words.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    closed = Encoder(words, 26, 9, "cut_answer")
    with pytest.raises(InputError) as found:
        tokenized(rows, closed, tmp_path, workers=1)
    lines = str(found.value).split("\n")
    assert lines[0] == "3 of 30 rows cannot be encoded:" and len(lines) == 4
    assert lines[3].startswith("  bad.jsonl:11: the tokenizer knows no token for a word of 'they </s> run'")
    many = [Row(prompt="how", responses=("</s>",), where=f"bad.jsonl:{i}") for i in range(12)]
    with pytest.raises(InputError, match=r"12 of 12 rows(.|\n)*bad.jsonl:9: .*\n  ... and 2 more$"):
        tokenized(many, closed, tmp_path, workers=1)
    narrow = Encoder(make_tokenizer("bytes"), 3, 9, "cut_answer")
    with pytest.raises(InputError, match="30 of 30 rows(.|\n)*rows.jsonl:1: dataset.max_prompt=3: one character"):
        tokenized(_rows(30, 1), narrow, tmp_path, workers=1)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    with pytest.raises(ValueError, match="3 responses, not 2"):
        tokenized([Row(prompt="how", responses=("a", "b", "c"))], _encoder(make_tokenizer), tmp_path, workers=1)


KILLED = """
import sys
from mora.dataset import tokens
from mora.dataset.encode import Encoder
from mora.types import Row
from transformers import PreTrainedTokenizerFast

def slowly(rows, encoder, workers, made=tokens.chunks):
    for number, chunk in enumerate(made(rows, encoder, workers)):
        if number == 2:
            print("half", flush=True)
            sys.stdin.readline()
        yield chunk

if __name__ == "__main__":
    tokens.chunks = slowly
    encoder = Encoder(PreTrainedTokenizerFast.from_pretrained(sys.argv[1]), 26, 9, "cut_answer")
    rows = [Row(prompt=f"how {i}", responses=("they run",)) for i in range(9000)]
    made = tokens.tokenized(rows, encoder, sys.argv[2], workers=int(sys.argv[3]))
    print(made.folder.name, made[4999].tokens.prompt.tolist())
"""


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.truth), 2])
def test_a_killed_writer_leaves_nothing_that_looks_complete(make_tokenizer, tmp_path, workers):
    make_tokenizer("bytes").save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "script.py").write_text(KILLED)
    cache = tmp_path / "cache"
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "tokenizer"), str(cache), str(workers)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)
    assert process.stdout.readline() == "half\n"
    children = _children(process.pid)
    assert bool(children) == (workers > 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not [path for path in cache.iterdir() if path.name.startswith("tokens-")]
    assert len([path for path in cache.iterdir() if path.name.startswith(".partial-")]) == 1
    for child in children:  # workers do not outlive it
        _wait_until_gone(child)
    done = subprocess.run(command, input="\n", capture_output=True, text=True)
    name, _, ids = done.stdout.removeprefix("half\n").partition(" ")
    assert sorted(p.name for p in cache.iterdir()) == sorted([name, f".{name}.lock"]), done.stderr
    assert json.loads(ids) == Encoder(make_tokenizer("bytes"), 26, 9, "drop").prompt("how 4999")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_until_gone(pid: int) -> None:
    for _ in range(200):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} still runs")


def test_another_schema_and_damage_are_told(make_tokenizer, tmp_path):
    rows = _rows(5, 1)
    folder = tokenized(rows, _encoder(make_tokenizer), tmp_path, workers=1).folder
    card = folder / tokens.CARD
    content = json.loads(card.read_text())
    card.write_text(json.dumps(content | {"schema": 7}))
    with pytest.raises(InputError, match=r"tokens\.json is damaged"):
        tokenized(rows, _encoder(make_tokenizer), tmp_path, workers=1)
    (folder / MANIFEST).unlink()
    with pytest.raises(InputError, match="of schema 7, and this version reads 1; delete the folder"):
        tokenized(rows, _encoder(make_tokenizer), tmp_path, workers=1)
    card.write_text(json.dumps(content))
    with pytest.raises(InputError, match="tokens of 5 rows, not of 4"):
        TokenizedRows.open(folder, rows[:4])
    (folder / "ids.bin").write_bytes(b"")
    with pytest.raises(InputError, match="ids.bin: damaged, 0 bytes"):
        tokenized(rows, _encoder(make_tokenizer), tmp_path, workers=1)


def test_distinct_texts_are_counted_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    marks = generator.integers(0, 300, 1000).astype(np.uint64)
    expected = len(np.unique(marks)), int((np.unique(marks) & np.uint64(1)).sum())
    assert tokens._distinct(marks, None) == expected
    monkeypatch.setattr(tokens, "DISTINCT", 64)
    assert tokens._distinct(marks, None) == expected
    kept = generator.integers(0, 2, 1000).astype(bool)
    assert tokens._distinct(marks, lambda part: kept[part])[0] == len(np.unique(marks[kept]))
    assert tokens._distinct(marks[:0], None) == (0, 0)
