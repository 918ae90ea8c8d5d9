"""Chat templates, and small tokenizers trained on the data at hand for models that are made from a config."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mora.errors import InputError
from mora.model.place import folder_of

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
        raise InputError(f"model.chat_template={source}: no tokenizer can be loaded from there") from error
    if other.chat_template is None:
        raise InputError(f"model.chat_template={source}: that tokenizer has no chat template")
    missing = [t for t in other.all_special_tokens if t in other.chat_template and t not in tokenizer.get_vocab()]
    if missing:
        raise InputError(
            f"model.chat_template={source}: its template uses {missing}, which this tokenizer does not know"
        )
    tokenizer.chat_template = other.chat_template
