"""The pairs that a reward model learns from: those that teach it, rated by annotators or by another reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mora.dataset import collate
from mora.dataset.encode import Encoder
from mora.dataset.store import take
from mora.errors import InputError
from mora.reward import HeadKind
from mora.reward.stored import load_scorer
from mora.runtime.console import say
from mora.runtime.context import Context
from mora.types import Row

JUDGED_AT_ONCE = 4096  # pairs that are asked whether they teach anything


def rated_by_teacher(context: Context, rows: Sequence[Row]) -> list[Row]:
    """The pairs with the atoms of the teacher's belief as ratings of their answers, in standard units.

    A teacher with one atom gives one rating; an ensemble of scalar members gives one from each.  Processes share the
    work.  Raises InputError for a teacher that does not score all objectives.
    """
    assert context.teacher_folder is not None
    runtime, objectives = context.runtime, context.corpus.objectives
    scorer = load_scorer(context.teacher_folder, runtime.device).select(objectives)
    answers = [(row.prompt, response) for row in rows for response in row.responses]
    padded = [*answers, *answers[-1:] * (-len(answers) % runtime.world_size)]
    mine = runtime.share(padded)
    belief = scorer.score([prompt for prompt, _ in mine], [response for _, response in mine])
    context.usage.scored(scorer, len(mine))
    if not torch.allclose(belief.weights, torch.full_like(belief.weights, 1 / belief.weights.shape[-1])):
        raise InputError(
            f"{context.teacher_folder}: the teacher's belief is {belief.kind} with weights of its own, and ratings "
            "weigh alike; name one with atoms of one weight, such as reward=ensemble of scalar or qr"
        )
    atoms = runtime.gather(belief.atoms.to(runtime.device))[: len(answers)].cpu()
    if not bool(torch.isfinite(atoms).all()):
        raise InputError(f"{context.teacher_folder}: the teacher's scores are not finite; train it again")
    say(f"{len(answers)} answers were rated by {context.provenance.get('teacher_run', context.teacher_folder)}")
    values = atoms.tolist()
    return [
        replace(
            row,
            ratings={name: (tuple(values[2 * i][m]), tuple(values[2 * i + 1][m])) for m, name in enumerate(objectives)},
        )
        for i, row in enumerate(rows)
    ]


def rows_that_teach(context: Context, encoder: Encoder, *, token_wise: bool) -> Sequence[Row]:
    """The training pairs that teach at least one objective.  Raises InputError where an objective has none."""
    kind = context.reward
    assert isinstance(kind, HeadKind)
    objectives = context.corpus.objectives
    rows = context.admitted(context.corpus.pairs["train"], encoder)
    if not rows:
        raise InputError(
            f"dataset {context.corpus.name}: there is no training pair, nor two rated answers to one prompt; train "
            "the reward model on a dataset that has them, and name its run: start.reward=RUN"
        )
    if context.teacher_folder is not None:
        rows = rated_by_teacher(context, rows)
    kind.check_rows(rows, objectives)
    some = (list(rows[start : start + JUDGED_AT_ONCE]) for start in range(0, len(rows), JUDGED_AT_ONCE))
    covered = torch.cat([kind.covered(collate.judgments(of, objectives)).any(1) for of in some]).numpy()
    rows = rows if covered.all() else take(rows, np.flatnonzero(covered))
    for row in rows if token_wise else ():
        if np.array_equal(encoder.response_of(row, 0), encoder.response_of(row, 1)):
            raise InputError(
                f"{row.where or repr(row.prompt[:60])}: the two answers are the same within dataset.max_response="
                f"{encoder.max_response} tokens, and algo.token_wise=true finds none to compare; raise it or leave "
                "the row out"
            )
    return rows
