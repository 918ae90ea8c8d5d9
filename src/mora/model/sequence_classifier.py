"""Any sequence classifier as a scorer: the logits of a text, whatever stands beside it in the batch.

Stock decoders read the rightmost token that is not the padding token, which is another token under padding when the
end token pads.  Where the head is one linear map named ``score`` on a decoder, the token is chosen here, from the mask;
any other classifier is called as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from mora.errors import InputError
from mora.functional.masking import pool_last, position_ids
from mora.model.capacity import check_tokens, positions
from mora.model.load import load_classifier, load_tokenizer

TOLERANCES = {torch.float32: 1e-4}  # of scores, relative to the larger of 1 and the score
Tokens = tuple[list[int], list[int] | None]  # ids and token types of one text
COARSE = 5e-2  # the same below fp32, where rounding depends on the shape of a batch


class SequenceClassifier:
    """A stock classifier with its tokenizer; ``read`` says which token a decoder's head reads.

    "classifier": the last token that is not ``config.pad_token_id``, as the classifier's own code reads a sequence that
    stands alone; "last": the last token.  They differ where a text ends with the padding token.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.pooled = _is_plain(model)
        if self.pooled:
            model.score.float()  # scores in half precision have three digits

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        dtype: str,
        template_date: str | None = None,
        revision: str | None = None,
        device: torch.device | str = "cpu",
    ) -> SequenceClassifier:
        """The classifier of a folder or hub id, in evaluation mode, checked; see ``load_tokenizer`` for the date.

        Raises InputError.
        """
        model = load_classifier(path, dtype=dtype, revision=revision)
        tokenizer = load_tokenizer(path, revision, template_date=template_date)
        check_tokens(model, tokenizer, path)
        return cls(model.to(device).eval(), tokenizer, str(path))  # type: ignore[arg-type]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the logits, in order."""
        return tuple(str(self.model.config.id2label[number]) for number in range(self.model.config.num_labels))

    def column(self, label: int | str | None) -> int:
        """The place of a label given by place or name; None stands for the only one.  Raises InputError."""
        names = self.labels
        shown = ", ".join(f"{number} ({name})" for number, name in enumerate(names))
        if label is None:
            if len(names) == 1:
                return 0
            raise InputError(f"{self.name}: label=null, but it has the labels {shown}; name one")
        if isinstance(label, str) and label in names:
            return names.index(label)
        if isinstance(label, int) and 0 <= label < len(names):
            return label
        raise InputError(f"{self.name}: there is no label {label}; it has {shown}")

    @property
    def limit(self) -> int | None:
        """The most tokens that it can read; None where neither model nor tokenizer says."""
        found = (positions(self.model), self.tokenizer.model_max_length)
        return min((limit for limit in found if limit is not None and 0 < limit < 1e9), default=None)

    @property
    def pad(self) -> int:
        """What stands on padding.  Decoders never see it; encoders may look for it."""
        configured = self.model.config.get_text_config().pad_token_id
        known = [self.tokenizer.pad_token_id, configured, self.tokenizer.eos_token_id, 0]
        return next(int(token) for token in known if token is not None)

    @torch.inference_mode()
    def logits(self, ids: Tensor, mask: Tensor, types: Tensor | None = None, *, read: str = "classifier") -> Tensor:
        """Logits (B, labels) in fp32 of sequences (B, L), padded on any side for a decoder, on the right for others.

        ``types`` (B, L) are the token types of pairs of texts, which decoders do not have.
        """
        if not self.pooled:
            accepted = inspect.signature(self.model.forward).parameters
            more = {"token_type_ids": types} if types is not None and "token_type_ids" in accepted else {}
            logits: Tensor = self.model(input_ids=ids, attention_mask=mask.long(), **more).logits
            return logits.float()
        backbone = self.model.base_model
        accepted = inspect.signature(backbone.forward).parameters
        options = {"position_ids": position_ids(mask)} if "position_ids" in accepted else {}
        hidden = backbone(input_ids=ids, attention_mask=mask.long(), use_cache=False, **options).last_hidden_state
        pooled = pool_last(hidden, self._read(ids, mask) if read == "classifier" else mask)
        scores: Tensor = self.model.score(pooled.float())
        return scores

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Where the last True of a row is the token that stock code reads of the sequence alone."""
        pad = self.model.config.get_text_config().pad_token_id
        if pad is None:
            return mask
        kept = mask & (ids != pad)
        first = mask & (mask.cumsum(-1) == 1)  # nothing but padding tokens: stock code reads the first
        return torch.where(kept.any(-1, keepdim=True), kept, first)

    def check(self, texts: Sequence[Tokens], *, read: str = "classifier") -> None:
        """Score some texts (token ids and types) alone, together, and padded as far as the architecture allows.

        A decoder is padded on either side, also with the end token, and its scores alone are held against those of its
        own code.  Raises InputError when one differs by more than 1e-4 (5e-2 below fp32), relative to the larger of 1
        and the score, and where a classifier that reads the end token finds none.
        """
        self._check_ends([ids for ids, _ in texts])
        alone = torch.cat([self.logits(*self._padded([text], 0, self.pad), read=read) for text in texts])
        if self.pooled:
            self._check_own(texts, alone, read)
        eos = self.tokenizer.eos_token_id
        tokens = {self.pad} | ({eos} if self.pooled and eos is not None else set())
        for token in sorted(tokens):
            for left in (False, True) if self.pooled else (False,):
                together = self.logits(*self._padded(texts, 3, token, left=left), read=read)
                self._compare(together, alone, f"{'left' if left else 'right'} padding with token {token} moves one")

    def _check_ends(self, texts: Sequence[Sequence[int]]) -> None:
        """Encoder-decoders read the last end token of a text, and ask for as many in each text of a batch."""
        config = self.model.config
        counts = {list(ids).count(config.eos_token_id) for ids in texts}
        if config.is_encoder_decoder and (len(counts) > 1 or 0 in counts):
            token = self.tokenizer.convert_ids_to_tokens(config.eos_token_id)
            raise InputError(
                f"{self.name}: {type(self.model).__name__} reads the end token {token!r} of a text, and not every text "
                "has one in this form; use a form in which the tokenizer adds it, also behind an answer that was cut "
                "off (reward.chat=pair), or a classifier of another architecture"
            )

    @torch.inference_mode()
    def _check_own(self, texts: Sequence[Tokens], alone: Tensor, read: str) -> None:
        """Where both read the same token, the classifier's own code gives the same scores of one text."""
        for row, (ids, _) in enumerate(texts):
            if read == "classifier" or ids[-1] != self.model.config.get_text_config().pad_token_id:
                own = self._stock(torch.tensor([ids], device=self.device))
                self._compare(own, alone[row : row + 1], f"the code of {type(self.model).__name__} gives another")

    def _stock(self, ids: Tensor) -> Tensor:
        """Logits by the classifier's own code, whose head is in the precision of its trunk."""
        score, dtype = self.model.score, self.model.base_model.dtype
        score.to(dtype)
        try:
            logits: Tensor = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            return logits.float()
        finally:
            score.float()

    def _compare(self, found: Tensor, expected: Tensor, what: str) -> None:
        error = ((found - expected).abs() / expected.abs().clamp_min(1.0)).max().item()
        allowed = TOLERANCES.get(self.model.base_model.dtype, COARSE)
        if not error <= allowed:
            raise InputError(
                f"{self.name}: the scores of {type(self.model).__name__} are not its own: {what} by {error:.2g} "
                f"(allowed {allowed:.0e}); use a classifier of another architecture, or reward.dtype=float32"
            )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def padded(self, texts: Sequence[Tokens]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Ids, mask and types (B, L) of texts, padded on the right, on the device of the model."""
        return self._padded(texts, 0, self.pad)

    def _padded(
        self, texts: Sequence[Tokens], extra: int, pad: int, *, left: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        width = max(len(ids) for ids, _ in texts) + extra
        ids = torch.full((len(texts), width), pad, dtype=torch.int64)
        types = torch.zeros(len(texts), width, dtype=torch.int64)
        mask = torch.zeros(len(texts), width, dtype=torch.bool)
        for row, (sequence, kinds) in enumerate(texts):
            place = slice(width - len(sequence), width) if left else slice(len(sequence))
            ids[row, place] = torch.tensor(sequence)
            mask[row, place] = True
            if kinds is not None:
                types[row, place] = torch.tensor(kinds)
        known = any(kinds is not None for _, kinds in texts)
        return ids.to(self.device), mask.to(self.device), types.to(self.device) if known else None


def _is_plain(model: Any) -> bool:
    """Whether the head is one linear map named ``score`` on the hidden states of a decoder."""
    head = dict(model.named_children()).get("score")
    return isinstance(head, nn.Linear) and model.base_model is not model and not model.config.is_encoder_decoder
