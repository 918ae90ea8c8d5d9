"""Ratings by a trained reward model in place of annotators': the scores of its members become what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mora.errors import InputError
from mora.reward.stored import load_panel
from mora.runtime.console import say
from mora.runtime.parts import Parts
from mora.types import Row


def taught(parts: Parts, rows: Sequence[Row]) -> list[Row]:
    """The pairs with the atoms of the teacher's belief as ratings of their answers, in standard units.

    A teacher with one atom gives one rating; an ensemble of scalar members gives one from each.  Processes share the
    work.  Raises InputError for a teacher that does not score all objectives.
    """
    assert parts.teacher_folder is not None
    runtime, objectives = parts.runtime, parts.corpus.objectives
    panel = load_panel(parts.teacher_folder, runtime.device).select(objectives)
    answers = [(row.prompt, response) for row in rows for response in row.responses]
    padded = [*answers, *answers[-1:] * (-len(answers) % runtime.world)]
    mine = runtime.share(padded)
    belief = panel.score([prompt for prompt, _ in mine], [response for _, response in mine])
    parts.spent.scored(panel, len(mine))
    if not torch.allclose(belief.weights, torch.full_like(belief.weights, 1 / belief.weights.shape[-1])):
        raise InputError(
            f"{parts.teacher_folder}: the teacher's belief is {belief.kind} with weights of its own, and ratings weigh "
            "alike; name one with atoms of one weight, such as reward=ensemble of scalar or qr"
        )
    atoms = runtime.gather(belief.atoms.to(runtime.device))[: len(answers)].cpu()
    if not bool(torch.isfinite(atoms).all()):
        raise InputError(f"{parts.teacher_folder}: the teacher's scores are not finite; train it again")
    say(f"{len(answers)} answers were rated by {parts.provenance.get('teacher_run', parts.teacher_folder)}")
    values = atoms.tolist()
    return [
        replace(
            row,
            ratings={name: (tuple(values[2 * i][m]), tuple(values[2 * i + 1][m])) for m, name in enumerate(objectives)},
        )
        for i, row in enumerate(rows)
    ]
