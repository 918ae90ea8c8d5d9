"""A chat template that asks for today gets the day of the settings, on any day and wherever it is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.security.test_models import spec

from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.model.load import load_tokenizer
from mora.model.tokenizer import TEMPLATE, set_date, train_bpe

FORMS = {'strftime_now("%d %b %Y")': "06 Jul 2024", "strftime_now( '%Y-%m-%d' )": "2024-07-06"}
LLAMA = "{%- if strftime_now is defined %}{%- set today = ASKED %}{%- else %}{%- set today = '?' %}{%- endif %}"


def asking(asked: str) -> str:
    return LLAMA.replace("ASKED", asked) + "{{ 'today: ' ~ today ~ ' ' }}" + TEMPLATE


@pytest.mark.parametrize("asked", FORMS)
def test_the_day_stands_in_the_template_and_is_stored_with_it(tmp_path: Path, asked):
    tokenizer = train_bpe(["today: how do they run"], 300)
    tokenizer.chat_template = asking(asked)
    tokenizer.save_pretrained(tmp_path / "base")
    known = load_tokenizer(tmp_path / "base", template_date="2024-07-06")
    known.save_pretrained(tmp_path / "policy")
    stored = load_tokenizer(tmp_path / "policy")
    ids = Encoder(stored, 60, 9, "error").prompt("how")
    assert ids == Encoder(known, 60, 9, "error").prompt("how")
    turn = [{"role": "user", "content": "how"}]
    stock = stored.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    assert stock.startswith(f"today: {FORMS[asked]} ")
    assert ids == stored(stock, add_special_tokens=False)["input_ids"]
    other = load_tokenizer(tmp_path / "base", template_date="2025-01-01")
    assert Encoder(other, 60, 9, "error").key != Encoder(known, 60, 9, "error").key


def test_a_model_writes_the_day_of_its_settings_into_any_template(tmp_path: Path):
    (tmp_path / "dated.jinja").write_text(asking('strftime_now("%Y")'))
    made = spec(chat_template=str(tmp_path / "dated.jinja"), template_date="1999-12-31").tokenizer(
        ["a"], tokens="bytes"
    )
    assert '"1999"' in made.chat_template and "strftime_now(" not in made.chat_template


@pytest.mark.parametrize("asked", ["strftime_now(form)", 'strftime_now("%9d")', "strftime_now('%s')", "strftime_now()"])
def test_a_form_that_is_no_date_is_refused(asked):
    tokenizer = train_bpe(["how"], 300)
    tokenizer.chat_template = asking(asked)
    set_date(tokenizer, "2024-07-06")
    assert tokenizer.chat_template == asking(asked)
    with pytest.raises(InputError, match="the chat template fails on a single user turn: .*model.chat_template"):
        Encoder(tokenizer, 40, 9, "error").prompt("how")


@pytest.mark.parametrize("day", ["2024-7-6", "20240706", "today", "2024-02-30", None])
def test_a_day_is_written_in_one_way(day):
    with pytest.raises(InputError, match=f"model.template_date={day}: write a day as YYYY-MM-DD"):
        spec(template_date=day)
