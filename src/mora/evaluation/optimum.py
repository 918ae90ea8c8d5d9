"""What the best policy could reach: the KL-regularized optimum of the gold gain, from samples of the reference policy.

The maximizer of ``E <w, r> - beta KL(pi || pi_ref)`` is ``pi* ~ pi_ref exp(<w, r> / beta)``.  Self-normalized
importance weights over samples of the reference give its scores, its KL and its utility ``beta log E_ref exp(<w, r> /
beta)``.  With finitely many samples the utility is biased downwards; the effective sample size says how far to trust
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mora.bounds import Count
from mora.dataset.corpus import Corpus
from mora.dataset.encode import Encoder
from mora.errors import InputError
from mora.evaluation import Run
from mora.files import record_json
from mora.functional.lagrangian import Lagrangian
from mora.functional.pareto import hypervolume
from mora.functional.thinning import evenly
from mora.functional.tilting import expected, linear_optimum
from mora.model.generate import Sampling
from mora.model.policy import Policy
from mora.runtime.sampling import decode, sample_rows

Floats = NDArray[np.float64]
REFERENCE = -3  # the step that these draws are keyed by: never one of training or of another evaluation


def sampled_optimum(rewards: Floats, scores: Floats, preference: Floats, *, kl_coef: float) -> dict[str, Any]:
    """``pi*`` on N reference samples of each of X prompts, which stand for all responses with equal probability.

    ``rewards`` and ``scores`` are (X, N, M); ``pi*`` tilts by the rewards, and its mean of ``scores`` is reported.
    ``utility`` in reward units, ``kl`` in nats, ``ess`` in samples of a prompt (Kish).
    """
    uniform = np.full(rewards.shape[:2], -np.log(rewards.shape[1]))
    best = linear_optimum(uniform, rewards, preference, kl_coef=kl_coef)
    ess = 1 / np.exp(2 * best.logps).sum(-1)
    return {
        "gold": expected(best.logps, scores).tolist(),
        "utility": best.utility,
        "kl": best.kl,
        "ess_min": float(ess.min()),
        "ess_median": float(np.median(ess)),
    }


@dataclass(kw_only=True)
class Optimum:
    """``evaluation=optimum``; the fields are the keys of ``conf/evaluation/optimum.yaml``."""

    needs_kl: ClassVar[bool] = True  # a run with a KL term
    needs_rules: ClassVar[bool] = True  # a dataset that is a world

    prompts: Count
    samples: Count
    batch_size: Count

    def measure_run(self, run: Run) -> str:
        """Write ``optimum.json`` of a policy, at the preferences of its front, which is measured first if need be.

        Raises InputError for one that was trained without a KL term, or with a reward that changed meanwhile.
        """
        kl_coef = run.config["algo"].get("kl_coef")
        if kl_coef is None:
            raise InputError(f"{run.folder.path}: was trained without a KL term, so no optimum belongs to it")
        if run.config["algo"].get("kl_target") is not None:
            raise InputError(
                f"{run.folder.path}: was trained with algo.kl_target, at many KL weights, so no one optimum belongs to "
                "it; use evaluation=front, or evaluation=regret evaluation.kl_coef=..."
            )
        run.check_units()
        if isinstance(run.build("scalarize"), Lagrangian):
            raise InputError(
                f"{run.folder.path}: was trained under floors, and evaluation=optimum knows none; use evaluation=regret"
            )
        front = run.table("front", ["points", "indicators", "reference_point"])
        policy, tokenizer = run.policy()
        encoder = run.corpus.encoder(tokenizer)
        table = self.measure(policy, encoder, run.corpus, front, kl_coef=kl_coef, seed=run.seed)
        record_json(run.folder.tables / "optimum.json", {"run": run.folder.id} | table)
        return "optimum"

    def measure(
        self, policy: Policy, encoder: Encoder, corpus: Corpus, front: Mapping[str, Any], *, kl_coef: float, seed: int
    ) -> dict[str, Any]:
        """The table ``optimum.json`` at the preferences of a ``front.json`` table, and that front's shares of it.

        Rewards are gold scores standardized on the reference samples, ``kl_coef`` in those units per nat.
        Raises InputError for a dataset without gold scores.
        """
        world = corpus.world
        if world is None:
            raise InputError(f"evaluation=optimum needs a synthetic task, and dataset={corpus.name} is none")
        rows = evenly(corpus.prompts[corpus.asked], self.prompts)
        answered = [self._gold(policy, encoder, corpus, row, seed) for row in rows]
        gold = np.stack([scores for scores, _ in answered])  # prompts, N, M
        mean, std = gold.mean((0, 1)), gold.std((0, 1))
        rewards = (gold - mean) / std
        points = []
        for point in front["points"]:
            preference = np.asarray(point["preference"])
            best = sampled_optimum(rewards, gold, preference, kl_coef=kl_coef)
            reached = (np.asarray(point["gold"]) - mean) / std @ preference - kl_coef * point["kl"]
            points.append({"preference": point["preference"], "optimum": best, "reached_utility": float(reached)})
        return {
            "kl_coef": kl_coef,
            "split": corpus.asked,
            "prompts": len(rows),
            "samples": self.samples,
            "ended": float(np.mean([share for _, share in answered])),
            "mean": mean.tolist(),
            "std": std.tolist(),
            "points": points,
            "summary": _summary(points, front, world.front(), mean, std),
        }

    def _gold(self, policy: Policy, encoder: Encoder, corpus: Corpus, row: Any, seed: int) -> tuple[Floats, float]:
        """Gold scores (N, M) of answers to a prompt, and the share of them that ended."""
        assert corpus.world is not None
        device = next(policy.parameters()).device
        scores, ended = [], list[bool]()
        for start in range(0, self.samples, self.batch_size):
            keep = range(start, min(start + self.batch_size, self.samples))
            prompts, _ = sample_rows([row], self.samples, encoder, device, keep)
            with policy.off():
                tokens, mask = policy.generate(
                    prompts,
                    None,
                    sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0),
                    seed=seed,
                    step=REFERENCE,
                    max_new_tokens=encoder.max_response,
                    ends=encoder.ends,
                    pad=encoder.pad,
                )
            texts, sampled = decode(tokens, mask, encoder)
            scores.append(corpus.world.gold(prompts.texts, texts, sampled.ended))
            ended += sampled.ended
        return np.concatenate(scores), float(np.mean(ended))


def _summary(
    points: list[dict[str, Any]], front: Mapping[str, Any], exact: Floats, mean: Floats, std: Floats
) -> dict[str, Any]:
    """Shares of the optimum: of the gain in utility over the reference policy, and of hypervolume."""
    reference_point = front["reference_point"]["gold"]["values"]
    best = [p["optimum"]["gold"] for p in points]
    reached = [p["gold"] for p in front["points"]]
    shares = [p["reached_utility"] - _baseline(front, p, mean, std) for p in points]
    gains = [p["optimum"]["utility"] for p in points]
    world_best = front["world"]["best"]
    volumes = {
        "reference": hypervolume([front["reference"]["gold"]], reference_point),
        "reached": hypervolume(reached, reference_point),
        "optimum": hypervolume(best, reference_point),
        "exact_at_preferences": hypervolume(world_best, reference_point),
        "exact_dense": hypervolume(exact, reference_point),
    }
    return {
        "utility_share_mean": float(np.sum(shares) / np.sum(gains)),
        "utility_share_worst": float(min(s / g for s, g in zip(shares, gains, strict=True))),
        "hypervolume": volumes,
        "hypervolume_share": volumes["reached"] / volumes["optimum"],
        "kl_mean": float(np.mean([p["kl"] for p in front["points"]])),
        "optimum_kl_mean": float(np.mean([p["optimum"]["kl"] for p in points])),
        "ess_min": min(p["optimum"]["ess_min"] for p in points),
    }


def _baseline(front: Mapping[str, Any], point: Mapping[str, Any], mean: Floats, std: Floats) -> float:
    """Utility of the reference policy on the prompts of the front; near 0, the mean of standardized scores."""
    return float((np.asarray(front["reference"]["gold"]) - mean) / std @ np.asarray(point["preference"]))
