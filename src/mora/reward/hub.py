"""Classifiers that others trained, as a reward: a model of the hub or of a folder, or a label of it, per objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from mora import bounds
from mora.bounds import Count, Natural
from mora.errors import InputError
from mora.model.load import DTYPES
from mora.model.tokenizer import check_date
from mora.reward import Origin, RewardKind
from mora.reward.point import ONE_POINT
from mora.reward.texts import check_form
from mora.types import BeliefShape

Read = Literal["classifier", "last"]
Form = Literal["logit", "log_odds"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the score of one objective comes from."""

    path: str
    revision: str | None
    label: int | str | None
    form: Form
    sign: int
    zero: bool
    chat: str
    read: Read
    max_length: int


SHARED = tuple(field.name for field in fields(Source) if field.name != "path")  # keys that one model may set otherwise


@dataclass(kw_only=True)
class Hub(RewardKind):
    """``reward=hub``; the fields are the keys of ``conf/reward/hub.yaml``.

    ``models`` maps an objective to a path, or to a mapping with a path and whatever differs from the other fields.
    Score with :class:`mora.reward.hub_scorer.HubScorer`.
    """

    name: ClassVar[str] = "hub"
    origin: ClassVar[Origin] = "imported"
    shape: ClassVar[BeliefShape] = ONE_POINT

    models: Mapping[str, Any]
    revision: str | None
    label: Natural | str | None
    form: Literal["logit", "log_odds"]
    sign: Literal[1, -1]
    zero: bool
    chat: str
    read: Read
    max_length: Count  # tokens
    template_date: str  # YYYY-MM-DD
    batch_size: Count
    dtype: Literal["float32", "bfloat16", "float16"]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"reward.dtype={self.dtype}: use one of {', '.join(DTYPES)}")
        bounds.check(self, "reward")
        check_date(self.template_date, "reward.template_date")
        if not isinstance(self.models, Mapping):
            raise InputError(f"reward.models={self.models}: give a mapping from objectives to models")
        for objective in self.models:
            self.source(objective)

    def source(self, objective: str) -> Source:
        """Where the score of ``objective`` comes from.  Raises InputError for what cannot be meant."""
        where = f"reward.models.{objective}"
        own = self.models[objective]
        own = {"path": own} if isinstance(own, str) else own
        if not isinstance(own, Mapping) or not isinstance(own.get("path"), str) or not own["path"].strip():
            raise InputError(f"{where}: give a folder or hub id, or a mapping with path: {{path: org/model, sign: -1}}")
        odd = [str(key) for key in own if key != "path" and key not in SHARED]
        if odd:
            raise InputError(f"{where}: takes path, {', '.join(SHARED)}, not {', '.join(odd)}")
        source = Source(path=own["path"], **{key: own.get(key, getattr(self, key)) for key in SHARED})
        _check(source, {key: f"{where}.{key}" if key in own else f"reward.{key}" for key in SHARED})
        return source

    def has_zero(self, objectives: Sequence[str]) -> tuple[bool, ...]:
        """As the entry of each objective says.  Raises InputError as :meth:`check` does."""
        self.check(objectives)
        return tuple(self.source(name).zero for name in objectives)

    def check(self, objectives: Sequence[str]) -> None:
        """Raises InputError unless there is a model for each objective, and none for another."""
        missing = [name for name in objectives if name not in self.models]
        if missing:
            raise InputError(
                f"reward.models: no model for {', '.join(missing)}; name a folder or hub id for each objective: "
                f"'reward.models={{{missing[0]}: org/model}}'"
            )
        odd = [name for name in self.models if name not in objectives]
        if odd:
            raise InputError(
                f"reward.models: has {', '.join(odd)}, but the objectives are {', '.join(objectives)}; leave it out, "
                "or add it to objectives.names"
            )


def _check(source: Source, keys: Mapping[str, str]) -> None:
    if source.sign not in (1, -1) or isinstance(source.sign, bool):
        raise InputError(f"{keys['sign']}={source.sign}: must be 1 (higher is better) or -1 (a cost)")
    if source.form not in ("logit", "log_odds"):
        raise InputError(f"{keys['form']}={source.form}: use logit or log_odds")
    if source.read not in ("classifier", "last"):
        raise InputError(f"{keys['read']}={source.read}: use classifier or last")
    if not isinstance(source.zero, bool):
        raise InputError(f"{keys['zero']}={source.zero}: must be true or false")
    if isinstance(source.label, bool) or not isinstance(source.label, int | str | None):
        raise InputError(f"{keys['label']}={source.label}: must be the place or the name of a label, or null")
    if isinstance(source.max_length, bool) or not isinstance(source.max_length, int) or source.max_length < 1:
        raise InputError(f"{keys['max_length']}={source.max_length}: must be at least 1 token")
    if not isinstance(source.chat, str):
        raise InputError(f"{keys['chat']}={source.chat}: must be text")
    check_form(source.chat, keys["chat"])
