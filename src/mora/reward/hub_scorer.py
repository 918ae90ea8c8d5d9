"""The scores of classifiers that others trained, one per objective; a model of several objectives is passed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mora.errors import InputError
from mora.files import new_folder, write_json
from mora.functional.classification import log_odds
from mora.manifest import model_content
from mora.model.place import find
from mora.model.score_model import CARD, SCHEMA, read_card
from mora.model.sequence_classifier import SequenceClassifier
from mora.model.stored import relative
from mora.reward.card import kind_of, section_of
from mora.reward.hub import Hub, Source
from mora.reward.point import point_belief
from mora.reward.scorer import Scorer
from mora.reward.standardization import Standardization
from mora.reward.texts import Answer, Texts
from mora.types import RewardBelief, Sampled

Place = tuple[str, str | None]  # path and revision: one set of weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Pass:
    """One pass of one classifier: the tokens that it reads, and the objectives that it scores."""

    classifier: SequenceClassifier
    texts: Texts
    read: str
    columns: dict[int, tuple[int, Source]]  # objective -> label and what becomes of it


class HubScorer(Scorer):
    """The scores of the classifiers that ``kind`` names, in the order of ``objectives``."""

    def __init__(
        self,
        kind: Hub,
        objectives: Sequence[str],
        classifiers: Mapping[Place, SequenceClassifier],
        facts: Mapping[Place, Mapping[str, Any]],
        standardization: Standardization | None = None,
    ) -> None:
        super().__init__(objectives, standardization)
        kind.check(objectives)
        self.kind, self.facts, self.batch_size = kind, dict(facts), kind.batch_size
        sources = [kind.source(name) for name in objectives]
        self.zero = tuple(source.zero for source in sources)
        self._passes = _passes(sources, classifiers)
        self.passes = len(self._passes)

    @classmethod
    def open(cls, kind: Hub, objectives: Sequence[str], device: torch.device | str) -> HubScorer:
        """The scorer of classifiers as they are now; which commit or content that is, is kept.  Raises InputError."""
        kind.check(objectives)
        places = dict.fromkeys(_place(kind.source(name)) for name in objectives)
        facts = {place: _found(*place) for place in places}
        loaded = {place: _load(place, kind, facts[place]["commit"], place[0], device) for place in places}
        return cls(kind, objectives, loaded, facts)

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str, *, batch_size: int | None = None) -> HubScorer:
        """The scorer of a card, with the very classifiers that its statistics were measured with.

        Raises InputError where a folder is gone or has changed since.
        """
        card, path = read_card(folder), Path(folder) / CARD
        kind = kind_of(card["reward"], path)
        if not isinstance(kind, Hub):
            raise InputError(f"{path}: a {kind.name} reward has no classifiers; train the reward model again")
        loaded, facts = {}, {}
        for entry in card["models"]:
            place = (entry["path"], entry["revision"])
            facts[place] = {key: entry[key] for key in ("commit", "folders", "content")}
            where = place[0] if entry["content"] is None else _unchanged(entry, Path(folder))
            loaded[place] = _load(place, kind, entry["commit"], where, device)
        known = card["standardization"]
        standardization = None if known is None else Standardization.read(known)
        scorer = cls(kind, card["objectives"], loaded, facts, standardization)
        scorer.batch_size = batch_size or kind.batch_size
        return scorer

    def save(self, folder: Path | str, **more: Any) -> None:
        """Write the card: what scores, how it is read, and the statistics; the weights stay where they are."""
        models = []
        for (path, revision), facts in self.facts.items():
            folders = facts["folders"]
            beside = [relative(folders[0], Path(folder))] if folders else []
            models.append({"path": path, "revision": revision, **facts, "folders": [*folders[:1], *beside]})
        statistics = None if self.standardization is None else self.standardization.facts()
        own = {"schema": SCHEMA, "kind": self.kind.name, "objectives": list(self.objectives), "width": 1}
        card = {"reward": section_of(self.kind), "models": models, "zero": list(self.zero)}
        with new_folder(folder, sealed=True) as place:
            write_json(place / CARD, {**own, **card, "standardization": statistics, **more})

    def notes(self) -> list[str]:
        """What to tell the user about texts that were changed to be read."""
        return [note for one in self._passes for note in one.texts.notes()]

    @torch.inference_mode()
    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Sampled | None = None) -> RewardBelief:
        """Belief (B, M, 1) in the units of the classifiers, costs negated, in the order given."""
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: need one response per prompt")
        scores = [torch.zeros(0)] * len(self.objectives)
        for one in self._passes:
            logits = self._logits(one, prompts, one.texts.answers(responses, sampled))
            for objective, (label, source) in one.columns.items():
                scores[objective] = label_scores(logits, label, source)
        return point_belief(torch.stack(scores, dim=1)[..., None])

    def _logits(self, one: Pass, prompts: Sequence[str], answers: Sequence[Answer]) -> Tensor:
        """Logits (B, labels) in fp32; texts of like length share a forward pass."""
        encoded = [one.texts(prompt, *answer) for prompt, answer in zip(prompts, answers, strict=True)]
        order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
        found = torch.zeros(len(encoded), len(one.classifier.labels), device=one.classifier.device)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = one.classifier.padded([encoded[i] for i in rows])
            found[rows] = one.classifier.logits(*batch, read=one.read)
        return found


def label_scores(logits: Tensor, label: int, source: Source) -> Tensor:
    """Scores (B,) of a label from logits (B, labels): the logit or its log-odds, negated once for a cost."""
    score = log_odds(logits, label) if source.form == "log_odds" else logits[:, label]
    return source.sign * score


def _place(source: Source) -> Place:
    return source.path, source.revision


def _found(path: str, revision: str | None) -> dict[str, Any]:
    """Which weights those are: the content of a folder, or the commit on the hub."""
    if Path(path).is_dir():
        if revision is not None:
            raise InputError(f"reward: {path} is a folder, which has no revision={revision}; set it to null")
        return {"commit": None, "folders": [str(Path(path).absolute())], "content": model_content(path)}
    return {"commit": find(path, revision, "reward.models"), "folders": [], "content": None}


def _unchanged(entry: Mapping[str, Any], card: Path) -> str:
    """The folder of ``entry`` whose content is that of the card.  Raises InputError."""
    named = [Path(folder) if Path(folder).is_absolute() else card / folder for folder in entry["folders"]]
    there = [folder for folder in (*named, Path(entry["path"])) if folder.is_dir()]
    if not there:
        raise InputError(f"{card / CARD}: the classifier {named[0]} is gone; put it back, or measure another")
    for folder in there:
        if model_content(folder) == entry["content"]:
            return str(folder)
    raise InputError(
        f"{there[0]} has changed since {card / CARD} was written, so its scores have another unit; train "
        "algo=reward_model reward=hub with it again"
    )


def _load(place: Place, kind: Hub, commit: str | None, where: str, device: torch.device | str) -> SequenceClassifier:
    own = {"dtype": kind.dtype, "template_date": kind.template_date}
    return SequenceClassifier.load(where, **own, revision=commit or place[1], device=device)


def _passes(sources: Sequence[Source], classifiers: Mapping[Place, SequenceClassifier]) -> list[Pass]:
    """One pass per classifier and form of its texts, each checked to score alike whatever stands beside a text."""
    found: dict[tuple[Any, ...], Pass] = {}
    for objective, source in enumerate(sources):
        classifier = classifiers[_place(source)]
        key = (*_place(source), source.chat, source.read, source.max_length)
        if key not in found:
            limit = classifier.limit
            if limit is not None and source.max_length > limit:
                raise InputError(
                    f"reward.max_length={source.max_length}: {source.path} reads at most {limit} tokens; set it so"
                )
            texts = Texts(classifier.tokenizer, source.chat, source.max_length, source.path)
            classifier.check(_trials(texts), read=source.read)
            texts.counts.clear()
            found[key] = Pass(classifier=classifier, texts=texts, read=source.read, columns={})
        label = classifier.column(source.label)
        if source.form == "log_odds" and len(classifier.labels) < 2:
            raise InputError(
                f"{source.path}: has one label, so form=log_odds has nothing to hold it against; use logit"
            )
        found[key].columns[objective] = label, source
    return list(found.values())


def _trials(texts: Texts) -> list[tuple[list[int], list[int] | None]]:
    """Texts of other lengths in words that the tokenizer knows, the last with an answer that was cut off."""
    special = {*texts.tokenizer.all_special_ids}
    plain = [token for token in range(len(texts.tokenizer)) if token not in special]
    words = [str(texts.tokenizer.decode([plain[(7 * i + size) % len(plain)] for i in range(size)])) for size in (3, 9)]
    return [texts(words[0], words[0]), texts(words[0], words[1]), texts(words[1], words[0], False)]
