"""`task=chat`: pairs and answers between the forms of chat data and mora's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mora.dataset.read import Record
from mora.dataset.schema import ID, LABEL, STRENGTH, BadRow, given, hard, text
from mora.errors import InputError
from mora.task import conversations, parsing
from mora.task.base import Part, Task
from mora.task.conversations import ChosenRejected
from mora.task.row_counts import RowCounts
from mora.turns import Turn

Target = Literal["explicit", "implicit", "pairs", "messages", "supervised"]
PAIRS, CONVERSATIONS = ("explicit", "implicit", "pairs"), ("messages", "supervised")
SIDED = ("_rating_0", "_rating_1", ID, LABEL)  # columns that speak of the answers by their numbers


@dataclass(kw_only=True)
class Chat(Task):
    """Each row in another form; what form it has is seen from its columns, and may differ from row to row.

    Raises InputError for an unknown form.
    """

    to: Target
    objective: str
    dialogues: bool

    def __post_init__(self) -> None:
        if self.to not in (*PAIRS, *CONVERSATIONS):
            raise InputError(f"task.to={self.to}: must be one of {', '.join((*PAIRS, *CONVERSATIONS))}")

    def rows(self, records: Iterator[Record], counts: RowCounts) -> Iterator[Part]:
        """Every row in the form asked for; pairs of which neither answer is better on the objective are left out."""
        lost: dict[str, None] = {}
        convert = self._pair if self.to in PAIRS else self._conversation
        for row, dropped in counts.parsed(records, convert, rewrites=True):
            if row is None:
                counts.left_out[f"neither answer is better on {self.objective}"] += 1
                continue
            lost |= dict.fromkeys(dropped)
            yield "", row
        if self.to in PAIRS and counts.left_out.total() == counts.total - len(counts.rejected) > 0:
            counts.notes.append(f"task.objective={self.objective}; columns that exist: {', '.join(counts.columns)}")
        if lost:
            counts.notes.append(f"columns not kept, since they speak of response_0 and response_1: {', '.join(lost)}")

    # --- pairs --------------------------------------------------------------------------------------------------------

    def _pair(self, fields: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
        read = self._read_pair(fields)
        if read is None:
            return None, []
        found, other, lost = read
        if found.chosen == found.rejected:
            raise BadRow("identical_responses", "chosen and rejected are the same")
        chosen, rejected = _said(found.chosen), _said(found.rejected)
        if self.to == "explicit":
            row = {"messages": list(found.turns), "chosen": [chosen], "rejected": [rejected]}
            return parsing.add_columns(row, other), lost
        if self.to == "implicit":
            turns = found.turns
            return parsing.add_columns({"chosen": [*turns, chosen], "rejected": [*turns, rejected]}, other), lost
        pair = parsing.Pair(
            prompt=self._prompt(found.turns),
            responses=(found.rejected, found.chosen),
            labels={self.objective: 1.0},
            other=other,
        )
        return parsing.in_hash_order(pair).fields(soft=False), lost

    def _read_pair(self, fields: Mapping[str, Any]) -> tuple[ChosenRejected, dict[str, Any], list[str]] | None:
        """The pair, the other columns, and the names of those that have no meaning in the new form."""
        if parsing.is_pair(fields):
            return self._of_pair(fields)
        if not given(fields, "chosen") or not given(fields, "rejected"):
            raise BadRow(
                "missing_field",
                "no pair: it needs chosen and rejected, or prompt, response_0 and response_1; it has "
                f"{', '.join(fields)}",
            )
        whole = not given(fields, "messages") and not isinstance(fields.get("prompt"), list)
        if whole and isinstance(fields.get("prompt"), str):
            found = self._of_texts(fields)
        else:
            found = conversations.implicit(fields, self.dialogues) if whole else conversations.explicit(fields)
        taken = ("messages", "prompt", "chosen", "rejected")
        return found, {name: value for name, value in fields.items() if name not in taken}, []

    def _of_texts(self, fields: Mapping[str, Any]) -> ChosenRejected:
        """``prompt``, ``chosen`` and ``rejected`` as three texts, or the prompt beside two answers or conversations."""
        if isinstance(fields["chosen"], list):
            whole = len(fields["chosen"]) > 1
            return conversations.implicit(fields, self.dialogues) if whole else conversations.explicit(fields)
        return ChosenRejected(
            turns=tuple(self._turns(text(fields, "prompt"))),
            chosen=text(fields, "chosen"),
            rejected=text(fields, "rejected"),
        )

    def _of_pair(self, fields: Mapping[str, Any]) -> tuple[ChosenRejected, dict[str, Any], list[str]] | None:
        pair = parsing.parse_pair(fields, [self.objective])
        better = hard(pair.labels[self.objective])
        if better is None:
            return None
        found = ChosenRejected(
            turns=tuple(self._turns(pair.prompt)),
            chosen=pair.responses[better],
            rejected=pair.responses[1 - better],
        )
        lost = [name for name in pair.other if name.endswith(SIDED) or "response_0" in name or "response_1" in name]
        other = {name: value for name, value in pair.other.items() if name not in lost}
        kept = pair.strengths.get(self.objective)
        if kept is not None:
            other[f"{self.objective}{STRENGTH}"] = kept
        if any(pair.ratings.values()):
            lost += [f"{self.objective}_rating_0", f"{self.objective}_rating_1"]
        soft = pair.labels[self.objective] not in (0.0, 1.0)
        return found, other, lost + ([f"{self.objective}{LABEL}"] if soft else [])

    def _turns(self, prompt: str) -> list[Turn]:
        turns = conversations.dialogue(prompt) if self.dialogues else [Turn(role="user", content=prompt)]
        conversations.checked(turns)
        return turns

    def _prompt(self, turns: Sequence[Turn]) -> str:
        """The turns in one column of text."""
        if self.dialogues:
            return conversations.spoken(turns)
        if len(turns) > 1:
            raise BadRow(
                "wrong_type",
                f"a prompt of {len(turns)} turns is no single text; task.dialogues=true writes it as 'Human: ... "
                "Assistant: ...', and task.to=explicit or messages keeps its turns",
            )
        return turns[0]["content"]

    # --- answers ------------------------------------------------------------------------------------------------------

    def _conversation(self, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        if given(fields, "messages"):
            turns, answer = conversations.answered(conversations.messages(fields, "messages"), "messages")
            taken: tuple[str, ...] = ("messages",)
        else:
            answer = text(fields, "response")
            turns, taken = self._turns(text(fields, "prompt")), ("prompt", "response")
        other = {name: value for name, value in fields.items() if name not in taken}
        if self.to == "messages":
            return parsing.add_columns({"messages": [*turns, _said(answer)]}, other), []
        return parsing.add_columns({"prompt": self._prompt(turns), "response": answer}, other), []


def _said(content: str) -> Turn:
    return {"role": "assistant", "content": content}
