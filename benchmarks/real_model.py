"""A steered policy on real text against what needs no training: the best of several answers, and asking for it.

    python benchmarks/real_model.py run=RUN prompts=32

The run has two objectives with true scores (``objectives=rules``).  On the same held-out prompts, in one unit and with
the same weights: the policy; the best of 4 and of 16 answers of the reference policy by the weighted true scores; and
the reference policy told what is wanted (``asked``).  Utility is the weighted sum of mean scores in standard deviations
of the reference policy's answers to these prompts.  KL of best-of-n is the bound log n - (n - 1) / n (Beirami et al.
2024); asking has none in this sense.  Beside them, whether the policy is still a language model: nats per token of
held-out answers, the share of answers that end by themselves, and distinct n-grams.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
import torch
from made_by import made_by
from numpy.typing import NDArray

from mora.dataset import collate
from mora.files import read_object
from mora.functional.pareto import hypervolume
from mora.functional.thinning import evenly
from mora.run.build import load_corpus
from mora.run.opened import open_policy
from mora.runtime.sampling import answer
from mora.types import Row

Floats = NDArray[np.float64]
WORDS = {  # what is asked for, by objective: for a weight of .6 or more, and for a smaller one
    "brevity": ("Answer in a few words.", "Answer briefly."),
    "length": ("Answer at length.", "Answer in some detail."),
    "cheer": ("Be very cheerful.", "Be friendly."),
    "reading_ease": ("Use very simple words and short sentences.", "Use simple words."),
    "no_lists": ("Do not write a list.", "Do not write a list."),
}
WEIGHTS = [[0.0, 1.0], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]
SEED, MANY, SHOWN, AT_ONCE = 7, 16, 4, 8


@dataclass
class Answers:
    """Answers to the prompts, at one preference."""

    scores: Floats  # (prompts, samples, M) true scores
    texts: list[list[str]]
    ended: list[list[bool]]
    kl: float | None = None  # nats

    def chosen(self, places: NDArray[np.int64], kl: float) -> Answers:
        """Of each prompt the samples at ``places`` (prompts, k)."""
        return Answers(
            np.take_along_axis(self.scores, places[..., None], 1),
            [[texts[i] for i in row] for texts, row in zip(self.texts, places, strict=True)],
            [[ended[i] for i in row] for ended, row in zip(self.ended, places, strict=True)],
            kl,
        )


class Bench:
    """A run with its held-out prompts."""

    def __init__(self, run: str, root: str, prompts: int) -> None:
        opened = open_policy(run, root)
        self.policy, self.encoder, self.corpus = opened.policy, opened.encoder, load_corpus(opened.config)
        self.prompts = [row.prompt for row in evenly(self.corpus.prompts[self.corpus.asked], prompts)]
        table = read_object(opened.folder.path / "tables" / "front.json", ["points"])
        self.kl = {tuple(point["preference"]): point["kl"] for point in table["points"]}
        assert self.corpus.true_scores is not None
        self.truth, self.names = self.corpus.true_scores, list(self.corpus.objectives)

    def drawn(self, prompts: Sequence[str], weights: Sequence[float], samples: int) -> Answers:
        """Answers of the policy to ``prompts``, scored as answers to the bench's own; by the reference inside off()."""
        found = []
        for start in range(0, len(prompts), AT_ONCE):
            some = prompts[start : start + AT_ONCE]
            how: dict[str, Any] = {"samples": samples, "temperature": 1.0, "max_new_tokens": None, "seed": SEED}
            found += [one for (one,) in answer(self.policy, self.encoder, some, [weights], **how)]
        texts = [[text for text, _ in one] for one in found]
        scores = [self.truth.gold([own] * samples, said) for own, said in zip(self.prompts, texts, strict=True)]
        return Answers(np.stack(scores), texts, [[end for _, end in one] for one in found])

    def asked(self, weights: Sequence[float]) -> list[str]:
        """The prompts with what the weights ask for, in words."""
        wanted = [WORDS[name][weight < 0.6] for name, weight in zip(self.names, weights, strict=True) if weight > 0.2]
        return [f"{prompt}\n\n{' '.join(wanted)}" for prompt in self.prompts]

    def methods(self) -> dict[str, list[Answers]]:
        """Answers of each method at each of WEIGHTS."""
        with self.policy.off():
            base = self.drawn(self.prompts, WEIGHTS[0], MANY)
            asking = [self.drawn(self.asked(weights), weights, SHOWN) for weights in WEIGHTS]
        base.kl = 0.0
        found = {"reference": [base] * len(WEIGHTS), "policy": [], "asked": asking}
        for weights in WEIGHTS:
            found["policy"].append(self.drawn(self.prompts, weights, SHOWN))
            found["policy"][-1].kl = self.kl.get(tuple(weights))
        for n in (4, MANY):
            first = np.arange(0, MANY, n)
            gains = [(base.scores / base.scores.std((0, 1))) @ np.asarray(weights) for weights in WEIGHTS]
            places = [gain.reshape(len(gain), MANY // n, n).argmax(2) + first for gain in gains]
            found[f"best of {n}"] = [base.chosen(place, log(n) - (n - 1) / n) for place in places]
        return found

    @torch.no_grad()
    def nats(self, rows: Sequence[Row], weights: Sequence[float] | None) -> float:
        """Nats per token of the answers of ``rows``, by the policy at ``weights``, or by its reference."""
        total, tokens = 0.0, 0
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            ids = [torch.as_tensor(np.array(self.encoder.response_of(row), np.int64)) for row in some]
            padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.encoder.pad)
            mask = torch.arange(padded.shape[1])[None] < torch.tensor([len(one) for one in ids])[:, None]
            given = None if weights is None else torch.tensor([weights] * len(ids), dtype=torch.float32)
            batch = collate.sequences(collate.prompts(some, self.encoder), padded, mask, given)
            logps = self.policy.reference(batch) if weights is None else self.policy.logps(batch)
            total, tokens = total - float(logps[mask].sum()), tokens + int(mask.sum())
        return total / tokens


def distinct(answers: Answers, size: int) -> float:
    """The share of word n-grams of ``size`` that are no repetition, over the first answers to all prompts."""
    words = [texts[0].split() for texts in answers.texts]
    grams = [tuple(text[i : i + size]) for text in words for i in range(len(text) - size + 1)]
    return len(set(grams)) / max(len(grams), 1)


def show_cells(names: Sequence[str], methods: dict[str, list[Answers]]) -> None:
    """A line for each method and preference."""
    base = methods["reference"][0].scores
    mean, std = base.mean((0, 1)), base.std((0, 1))
    print(f"\n{'':<12}{'weights':<12}{''.join(f'{name:>10}' for name in names)}  utility     KL  ended  dist-1  dist-2")
    for method, cells in methods.items():
        for weights, one in zip(WEIGHTS, cells, strict=True):
            utility = ((one.scores - mean) / std).mean((0, 1)) @ np.asarray(weights)
            scores = "".join(f"{value:>10.3f}" for value in one.scores.mean((0, 1)))
            kl = "    -" if one.kl is None else f"{one.kl:5.2f}"
            ended = np.mean([share for row in one.ended for share in row])
            grams = "".join(f"{distinct(one, size):>8.2f}" for size in (1, 2))
            head = f"{method:<12}{weights[0]:.2f} {weights[1]:.2f}   "
            print(f"{head}{scores}  {utility:>7.2f}  {kl}  {ended:5.0%}{grams}")


def show_fronts(methods: dict[str, list[Answers]]) -> None:
    """Hypervolume with an interval over prompts, and mean utility, of each method."""
    base = methods["reference"][0].scores
    mean, std = base.mean((0, 1)), base.std((0, 1))
    print("\nhypervolume of true scores above 0 (95 % interval over prompts); mean utility over the preferences")
    for method, cells in methods.items():
        values = np.stack([one.scores.mean(1) for one in cells])  # (P, prompts, M)
        floor, count = np.zeros(values.shape[-1]), values.shape[1]
        picks = np.random.default_rng(SEED).integers(0, count, (1000, count))
        low, high = np.quantile([hypervolume(values[:, pick].mean(1), floor) for pick in picks], (0.025, 0.975))
        utility = np.mean([((v.mean(0) - mean) / std) @ np.asarray(w) for v, w in zip(values, WEIGHTS, strict=True)])
        print(f"{method:<12}{hypervolume(values.mean(1), floor):.3f} [{low:.3f}, {high:.3f}]  {utility:6.2f}")


def main() -> None:
    """Measure and print the tables and some answers."""
    print(made_by(), flush=True)
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    bench = Bench(given["run"], given.get("runs", "runs"), int(given.get("prompts", 32)))
    methods = bench.methods()
    show_cells(bench.names, methods)
    show_fronts(methods)
    held = evenly(bench.corpus.supervised["test"], 64)
    each = [("reference", bench.nats(held, None))]
    each += [(f"{w[0]:.2f} {w[1]:.2f}", bench.nats(held, w)) for w in WEIGHTS[::2]]
    said = ", ".join(f"{name} {value:.3f}" for name, value in each)
    print(f"\nnats per token of {len(held)} held-out answers of the dataset: {said}")
    for i in range(0, len(bench.prompts), max(len(bench.prompts) // 10, 1)):
        print(f"\n{bench.prompts[i]!r}\n  reference: {methods['reference'][0].texts[i][0]!r}")
        for weights, one in list(zip(WEIGHTS, methods["policy"], strict=True))[::2]:
            print(f"  {weights[0]:.2f} {weights[1]:.2f}: {one.texts[i][0]!r}")


if __name__ == "__main__":
    main()
