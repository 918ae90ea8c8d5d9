"""Tokenizers of every make with the chat templates of well-known families, made here from a few lines of text."""

from __future__ import annotations

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, PythonBackend

from mora.model.tokenizer import TEMPLATE

LINES = [
    "how do cats and dogs run , and why ?",
    "they run very fast from danger to home",
    "user system assistant im end",
]
LOOP = "{% for m in messages %}"
FAMILIES: dict[str, tuple[str, list[str]]] = {  # template, and the special tokens that it writes
    "chatml": (
        LOOP + "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        ["<|im_start|>", "<|im_end|>"],
    ),
    "llama3": (
        LOOP + "{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + "
        "'<|eot_id|>' %}{% if loop.first %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + LOOP
        + "{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        ["<start_of_turn>", "<end_of_turn>"],
    ),
    "zephyr": (
        LOOP + "{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}",
        [],
    ),
    "mistral": (
        "{{ bos_token }}" + LOOP + "{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
        "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}",
        ["[INST]", "[/INST]"],
    ),
    "mora": (TEMPLATE, ["<answer>"]),
}
MAKES = ("bytes", "ignore_merges", "metaspace", "unigram", "wordpiece")


def fast(make: str, family: str, *, special: bool = True) -> PreTrainedTokenizerFast:
    """A fast tokenizer; with ``special`` false the turn marks of its family are added tokens that are not special."""
    template, marks = FAMILIES[family]
    names = ["<s>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if make in ("bytes", "ignore_merges", "normalized"):
        backend = Tokenizer(models.BPE(ignore_merges=make == "ignore_merges"))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=[*names, *marks], initial_alphabet=alphabet, show_progress=False
        )
    elif make == "metaspace":  # as Llama 2 has it
        backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=[*names, *(f"<0x{b:02X}>" for b in range(256)), *marks],
            show_progress=False,
        )
    elif make == "unigram":  # whose vocabulary spells control tokens, as those of SentencePiece do
        backend = Tokenizer(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        backend.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.UnigramTrainer(
            vocab_size=200,
            special_tokens=[*names, *marks],
            unk_token="<unk>",
            initial_alphabet=[chr(c) for c in range(33, 127)],
            show_progress=False,
        )
    else:
        backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=500,
            special_tokens=[*names, *marks],
            initial_alphabet=[chr(c) for c in range(33, 127)],
            show_progress=False,
        )
    backend.train_from_iterator(LINES * 3, trainer)
    if make == "metaspace":  # bytes are words of the vocabulary, no added tokens
        state = json.loads(backend.to_str())
        state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
        backend = Tokenizer.from_str(json.dumps(state))
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    if make == "normalized":  # full-width characters become plain ones, in which added tokens are looked for
        backend.normalizer = normalizers.NFKC()
        backend = _with_normalized_marks(backend, marks)
    if not special:  # as some fine-tuned models have them
        backend.add_tokens([AddedToken("<think>", special=False), AddedToken("<note>", special=False)])
    found = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template if special else template.replace("{{ bos_token }}", "{{ bos_token }}<note>"),
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    return found


def _with_normalized_marks(backend: Tokenizer, marks: list[str]) -> Tokenizer:
    state = json.loads(backend.to_str())
    for token in state["added_tokens"]:
        token["normalized"] = token["content"] in marks
    return Tokenizer.from_str(json.dumps(state))


class _Letters(PythonBackend):
    """One token per byte of a text."""

    vocab_files_names: dict[str, str] = {}

    def __init__(self, **options: object) -> None:
        super().__init__(**options)

    @property
    def vocab_size(self) -> int:
        return 256

    def get_vocab(self) -> dict[str, int]:
        return {f"<{b:02x}>": b for b in range(256)} | self.added_tokens_encoder

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return [f"<{b:02x}>" for b in text.encode()]

    def _convert_token_to_id(self, token: str) -> int:
        return int(token[1:-1], 16)

    def _convert_id_to_token(self, index: int) -> str:
        return f"<{index:02x}>"

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        found = [token.encode() if len(token) != 4 else bytes.fromhex(token[1:-1]) for token in tokens]
        return b"".join(found).decode(errors="replace")

    def build_inputs_with_special_tokens(self, first: list[int], second: list[int] | None = None) -> list[int]:
        return [self.bos_token_id, *first, *([] if second is None else [self.eos_token_id, *second])]


def slow() -> PythonBackend:
    """A tokenizer without a backend of the tokenizers library."""
    template, marks = FAMILIES["chatml"]
    made = _Letters(bos_token="<s>", eos_token="</s>", extra_special_tokens=marks)
    made.chat_template = template
    return made
