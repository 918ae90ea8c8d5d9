"""Chat templates, what ends answers, and small tokenizers trained on the data at hand for models that are made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mora.ends import end_ids
from mora.errors import InputError
from mora.model.place import folder_of, read_config, reason

SPECIAL = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
ANSWER = "<answer>"
# One user turn, then the answer; what a chat model's template is, in its smallest form.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% if not loop.last or add_generation_prompt %}"
    + ANSWER
    + "{% endif %}{% endif %}"
    "{% endfor %}"
)

# How a template asks for today.  What pads to any length, and the seconds since 1970, are no form of a date.
_FORM = r"(?:[^{quote}\\%\ud800-\udfff]|%[a-rt-zA-Z%]){{0,64}}"
TODAY = re.compile(
    r"\bstrftime_now\(\s*(?:" + "|".join(f"{q}({_FORM.format(quote=q)}){q}" for q in ('"', "'")) + r")\s*\)"
)
# Every turn ended by the end token, as an encoder reads a pair of texts.
TURNS = "{{ cls_token }}{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
BARE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=[ANSWER],
        **SPECIAL,
    )


def train_words(texts: Iterable[str], *, closed: bool) -> PreTrainedTokenizerFast:
    """One token per word; words are what stands between spaces.

    ``closed``: nothing but the words and the end token, which pads too, so that every sequence of tokens is a text; a
    word that is not in ``texts`` cannot be encoded.
    """
    unknown = None if closed else SPECIAL["unk_token"]
    tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [SPECIAL["eos_token"]] if closed else [*SPECIAL.values(), ANSWER]
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    return _closed(tokenizer) if closed else _wrap(tokenizer)


def _closed(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    end = SPECIAL["eos_token"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=BARE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        eos_token=end,
        pad_token=end,
    )


def train_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text round-trips exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL.values(), ANSWER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _wrap(tokenizer)


def copy_chat_template(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Give ``tokenizer`` the chat template of a .jinja file, or of another model's folder or hub id.

    Raises InputError when the source has none, or when the template ends a turn with a token that ``tokenizer`` lacks.
    """
    if source.endswith(".jinja"):
        try:
            template = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"model.chat_template={source}: cannot be read ({error.strerror})") from error
        tokenizer.chat_template = template
        return
    try:
        other = AutoTokenizer.from_pretrained(folder_of(source, where="model.chat_template"), trust_remote_code=False)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        said = f"no tokenizer can be loaded from there ({reason(error)})"
        raise InputError(f"model.chat_template={source}: {said}") from error
    if other.chat_template is None:
        raise InputError(f"model.chat_template={source}: that tokenizer has no chat template")
    missing = [t for t in other.all_special_tokens if t in other.chat_template and t not in tokenizer.get_vocab()]
    if missing:
        raise InputError(
            f"model.chat_template={source}: its template uses {missing}, which this tokenizer does not know"
        )
    tokenizer.chat_template = other.chat_template


def separate(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer of an encoder mark texts as it was taught: [CLS] prompt [SEP] answer [SEP].

    Its separator ends an answer.  What the tokenizer says of its own stays.  Raises InputError for one without
    separator.
    """
    if tokenizer.eos_token is None:
        if tokenizer.sep_token is None:
            raise InputError(
                f"{tokenizer.name_or_path}: the tokenizer has no separator ([SEP]), as those of encoders do"
            )
        tokenizer.eos_token = tokenizer.sep_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = TURNS


def check_date(day: str, where: str) -> None:
    """Raises InputError unless ``day`` is written YYYY-MM-DD; ``where`` is the key of the setting."""
    try:
        known = date.fromisoformat(day).isoformat() == day
    except (ValueError, TypeError):
        known = False
    if not known:
        raise InputError(f"{where}={day}: write a day as YYYY-MM-DD, such as 2024-07-26")


def set_date(tokenizer: PreTrainedTokenizerBase, day: str) -> None:
    """Write ``day`` (YYYY-MM-DD, midnight) into the chat template wherever that asks for today (``strftime_now``).

    So the template gives the same tokens on any day, here and wherever the tokenizer is stored.  A call whose form is
    no text, or no form of dates, stays, and is refused where the template is rendered.
    """
    at = date.fromisoformat(day)

    def dated(template: str) -> str:
        return TODAY.sub(
            lambda found: json.dumps(at.strftime(found[1] or found[2] or ""), ensure_ascii=False), template
        )

    templates = tokenizer.chat_template
    if isinstance(templates, dict):
        tokenizer.chat_template = {name: dated(template) for name, template in templates.items()}
    elif templates is not None:
        tokenizer.chat_template = dated(templates)


def stated_ends(folder: Path) -> tuple[int, ...]:
    """The tokens that end an answer by ``generation_config.json`` of a model, or else by its ``config.json``.

    Raises InputError for a file that is no JSON or names no tokens.
    """
    for name in ("generation_config.json", "config.json"):
        config = read_config(folder / name)
        text = config.get("text_config")
        for part in (config, text if isinstance(text, dict) else {}):
            if part.get("eos_token_id") is not None:
                return end_ids(part["eos_token_id"], f"{folder / name}: eos_token_id")
    return ()
