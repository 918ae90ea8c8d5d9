"""`task=rrm`: pairs that keep a reward model from rewarding form (RRM, Liu et al. 2024, arXiv 2409.13156).

Two steps with ``python -m mora.score`` between them: the candidates of ``step=candidates`` are scored by a reward model
that was trained on the originals, and ``step=final`` keeps those that it gets wrong, beside the originals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Interval

from mora import bounds
from mora.bounds import Decay, Positive, Seed
from mora.dataset.cells import typed
from mora.dataset.read import Record, records
from mora.dataset.record_parser import RecordParser
from mora.dataset.schema import BadRow, text
from mora.errors import InputError
from mora.task import augmentation, parsing
from mora.task.augmentation import Candidate
from mora.task.base import Part, Task
from mora.task.parsing import Pair
from mora.task.row_counts import RowCounts
from mora.types import Row

Margins = dict[int, tuple[str, dict[str, float]]]  # by the pair: its text that scored second, and by how much more


@dataclass(kw_only=True)
class Rrm(Task):
    """Pairs with their augmentation.  Raises InputError for options out of range."""

    step: Literal["candidates", "final"]
    objectives: list[str] | None
    context_free: list[str]
    candidates: Annotated[float, Interval(gt=0, le=14)]
    scores: str | None
    scale: Positive
    surprise: Decay
    ratio: Annotated[float, Interval(gt=0, le=14)]
    seed: Seed

    def __post_init__(self) -> None:
        if self.step not in ("candidates", "final"):
            raise InputError(f"task.step={self.step}: must be candidates or final")
        if self.step == "candidates" and self.scores is not None:
            raise InputError("task.scores is for task.step=final; task.step=candidates writes the pairs to be scored")
        bounds.check(self, "task")

    def read(self) -> Sequence[tuple[str, str]]:
        """The file of scores."""
        return [] if self.scores is None else [("task.scores", self.scores)]

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """The candidates; or the originals and then the augmented pairs that are kept."""
        pairs = list(parsing.parse_with_objectives(records, counts, parsing.parse_pair, self.objectives))
        counts.require(self.objectives, parsing.pair_columns)
        names = list(dict.fromkeys(name for pair in pairs for name in pair.labels))
        self._check_names(names)
        found = self._found(pairs, counts)
        if self.step == "candidates":
            for one in found:
                yield "", self._row(one, {name: 1.0 for name in names})
            return
        for pair in pairs:
            yield "", pair.fields(soft=True) | {"augmentation": augmentation.ORIGINAL}
        kept = [(one, dict.fromkeys(names, 1.0)) for one in found]
        if self.scores is not None:
            kept = self._surprising(found, self._margins(names), names, counts)
        most = math.floor(self.ratio * len(pairs))
        if len(kept) > most:
            counts.not_made[f"candidates beyond task.ratio={self.ratio:g} of the originals"] += len(kept) - most
        for one, said in kept[:most]:
            yield "", self._row(one, said)
        kinds = [one.kind for one, _ in kept[:most]]
        made = ", ".join(f"{kind} {kinds.count(kind)}" for kind in (augmentation.NON_CONTEXTUAL, augmentation.NEUTRAL))
        counts.notes.append(f"original {len(pairs)}, {made}")

    def _check_names(self, names: Sequence[str]) -> None:
        strangers = [name for name in self.context_free if name not in names]
        if strangers:
            raise InputError(
                f"task.context_free: {', '.join(strangers)}: no such objective; there are {', '.join(names)}"
            )
        if names and not set(names) - set(self.context_free):
            raise InputError("task.context_free names all objectives: no label would be left on an augmented pair")

    def _found(self, pairs: Sequence[Pair], counts: RowCounts) -> list[Candidate]:
        """Candidates, each once, at most ``candidates`` per original; a pair of the file is none of them."""
        unique = list({augmentation.key(pair): pair for pair in pairs}.values())
        common = augmentation.common_answers(unique)
        taken = {augmentation.key(pair) for pair in unique}
        made: dict[int, Candidate] = {}
        served = 0
        for pair, first, second in augmentation.foreign(unique, self.seed):
            served += 1
            for one in augmentation.candidates(pair, first, second):
                if common & set(one.responses):
                    counts.not_made["candidates with an answer that stands under several prompts"] += 1
                elif augmentation.key(one) in made or augmentation.key(one) in taken:
                    counts.not_made["candidates that are there already"] += 1
                else:
                    made[augmentation.key(one)] = one
        if not served:
            raise InputError(f"{len(unique)} pairs of fewer than three prompts: there are no answers of other prompts")
        most = math.floor(self.candidates * len(pairs))
        if len(made) > most:
            counts.not_made[f"candidates beyond task.candidates={self.candidates:g} of an original"] += len(made) - most
        return augmentation.drawn(made.values(), most, self.seed)

    def _row(self, one: Candidate, said: Mapping[str, float]) -> dict[str, Any]:
        """A candidate as a row, with a label on the objectives that are ``said`` and not free of context."""
        label = 0.5 if one.better is None else float(one.better)
        labels = {name: label if value and name not in self.context_free else None for name, value in said.items()}
        pair = parsing.in_hash_order(Pair(prompt=one.prompt, responses=one.responses, labels=labels))
        return pair.fields(soft=True) | {"augmentation": one.kind}

    # --- scores -------------------------------------------------------------------------------------------------------

    def _margins(self, names: Sequence[str]) -> Margins:
        """Margins from the file of scores, by the content of the pair, in whatever order the file is."""
        parser = RecordParser()
        found: Margins = {}
        for _, (pair, margins) in parser.parse(records(str(self.scores), "task.scores"), _scored):
            found[augmentation.key(pair)] = (pair.responses[1], margins)
        if parser.rejected:
            first = parser.rejected[0]
            raise InputError(
                f"task.scores: {first.where}: {first.reason}; score the candidates with python -m mora.score"
            )
        known = {name for _, margins in found.values() for name in margins}
        absent = [name for name in names if name not in self.context_free and name not in known]
        if absent:
            raise InputError(
                f"task.scores={self.scores}: no scores of {', '.join(absent)}; it has {', '.join(sorted(known))}; name "
                "those to augment with task.objectives, or those that need no context with task.context_free"
            )
        return found

    def _surprising(
        self, found: Iterable[Candidate], margins: Margins, names: Sequence[str], counts: RowCounts
    ) -> list[tuple[Candidate, dict[str, float]]]:
        """Candidates that the scores get wrong on some objective by at least ``surprise``, and on which ones."""
        kept = []
        for one in found:
            if augmentation.key(one) not in margins:
                counts.not_made["candidates without scores"] += 1
                continue
            second, by = margins[augmentation.key(one)]
            sign = 1.0 if second == one.responses[1] else -1.0
            label = 0.5 if one.better is None else float(one.better)
            said = {
                name: float(name in by and abs(win_rate(self.scale * sign * by[name]) - label) >= self.surprise)
                for name in names
            }
            if any(value for name, value in said.items() if name not in self.context_free):
                kept.append((one, said))
            else:
                counts.not_made[f"candidates that the scores get right within task.surprise={self.surprise:g}"] += 1
        return kept


def win_rate(margin: float) -> float:
    """The probability that an answer wins whose score is higher by ``margin`` (log-odds), without overflow."""
    return 0.5 * (1.0 + math.tanh(0.5 * margin))


def _scored(fields: Mapping[str, Any]) -> tuple[Row, dict[str, float]]:
    """A pair with ``scores_0`` and ``scores_1`` as ``python -m mora.score`` writes them; the margin per objective."""
    pair = Row(prompt=text(fields, "prompt"), responses=(text(fields, "response_0"), text(fields, "response_1")))
    sides = [typed(fields.get(f"scores_{side}")) for side in (0, 1)]
    if not all(isinstance(side, Mapping) for side in sides):
        raise BadRow("missing_field", "it needs scores_0 and scores_1")
    means = [{name: _mean(score, name) for name, score in dict(side or {}).items()} for side in sides]
    return pair, {name: means[1][name] - means[0][name] for name in means[0] if name in means[1]}


def _mean(score: Any, name: str) -> float:
    value = score.get("mean") if isinstance(score, Mapping) else score
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow(
            "wrong_type", f"the score of {name!r} must be a number, or an object with a number as mean, not {value!r}"
        )
    return float(value)
