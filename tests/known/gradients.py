"""Exact gradients: every response of a tiny vocabulary as the rollout, weighted by its probability.

The reference never touches the code under test: weights are merged densely, sequences stand alone without padding, and
the utility is written out over the enumeration and differentiated by autograd.  All in double precision.

``python -m tests.known.gradients`` prints the largest error of each algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mora.dataset import collate
from mora.functional.lagrangian import Lagrangian
from mora.functional.scalarize import Linear, Minimum, Scalarizer, TchebycheffExpected
from mora.model.lora import LoRALinear
from mora.model.policy import Policy
from mora.reward.scorer import Scorer
from mora.reward.standardization import Standardization
from mora.run.build import build
from mora.runtime.context import Context
from mora.runtime.enumeration import Enumeration
from mora.runtime.folder import RunFolder
from mora.types import Prompts, RewardBelief, Row
from tests.algo.pieces import collector_of, policy_of
from tests.composed import composed

PROMPTS = ("a", "b c")  # of different length: one is padded
WORDS, LENGTH = 5, 3  # with the end token 1 + 5 + 25 + 125 = 156 responses
KL_COEF = 0.3
PARTS = ("tracker", "model", "reward", "risk", "scalarize", "preference", "adapter")
SETTINGS = (
    "dataset=oracle",
    f"dataset.words={WORDS}",
    f"dataset.max_response={LENGTH}",
    "dataset.topics=2",
    "dataset.max_prompt=2",
    "dataset.supervised={train: 8, test: 8}",
    "dataset.pairs={train: 8, test: 8}",
    "model=micro",
    "model.config={model_type: gpt_neox, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, "
    "num_attention_heads: 2, max_position_embeddings: 16, tie_word_embeddings: false}",
    "reward=gold",
    f"algo.kl_coef={KL_COEF}",
)
PLAIN = (
    "algo.normalize_advantages=none",
    "algo.advantage.lam=1.0",
    "algo.advantage.gamma=1.0",
    "algo.critic_width=8",
)
UNBIASED = {  # settings of an algorithm whose advantages are those of the definition
    "ppo": PLAIN,
    "ppo_lag": PLAIN,
    "panacea": (*PLAIN, "adapter.rank=3"),
    "panacea_lag": (*PLAIN, "adapter.rank=3"),
    "rloo": ("algo.normalize_advantages=none",),
    "rloo_lag": ("algo.normalize_advantages=none",),
    "hc_rlhf": ("algo.normalize_advantages=none",),
    "reinforce": ("algo.normalize_advantages=none",),
    "grpo": ("algo.kl_loss=null",),
    "gdpo": ("algo.kl_loss=null", "algo.normalize_advantages=none"),
    "gd2po": ("algo.kl_loss=null", "algo.normalize_advantages=none"),
    "pg_panacea": ("algo.normalize_advantages=none",),
    "exact": ("adapter.rank=3",),
}


@dataclass(frozen=True)
class Case:
    """An algorithm with settings that make its gradient exact."""

    name: str
    algo: str
    overrides: tuple[str, ...] = ()
    objectives: int = 2
    penalty: float = 0.0  # of a response that does not end
    unequal: bool = False  # the first objective is low on one prompt, the second on the other, at nearly equal weights

    @property
    def command(self) -> list[str]:
        names = ", ".join(f"r{i + 1}" for i in range(self.objectives))
        own = [f"algo={self.algo}", *SETTINGS, f"objectives.names=[{names}]", *UNBIASED[self.algo]]
        return [*own, *self.overrides]


EXPECTED = ("scalarize=tchebycheff_expected", "scalarize.augment=0.1")
PROMPT = ("scalarize=tchebycheff_prompt", "scalarize.augment=0.1")
NEAR = ("scalarize.ideal=3.0",)
MULTIPLIER = 0.7  # of a floor under the second objective, which stays as it is
FLOOR = ("scalarize.floors={r2: 0.1}", f"scalarize.initial={MULTIPLIER}", "scalarize.lr=0.0")
CONFIDENT = ("scalarize.confidence.prompts=40", "scalarize.confidence.delta=0.05")
PER_DEVIATION = 2 * 1.684875121711225 / 40**0.5  # twice t of 95 % at 39 degrees of freedom, over the root of 40
NORMALIZED = ("grpo", "gdpo", "gd2po")  # within a prompt: the gradient is that of no utility
ONE = ("adapter=lora", "preference=fixed")  # of an algorithm whose policy is steered else
CASES = (
    Case("panacea, linear", "panacea"),
    Case("panacea, linear, 3 objectives", "panacea", objectives=3),
    Case("panacea, one objective (PPO)", "panacea", objectives=1),
    Case(
        "panacea, a penalty for responses that do not end",
        "panacea",
        ("algo.rollout.truncated=penalty", "algo.rollout.missing_eos_penalty=0.7"),
        penalty=0.7,
    ),
    Case("panacea, recomputed activations", "panacea", ("model.gradient_checkpointing=true",)),
    Case("panacea, Tchebycheff of responses", "panacea", ("scalarize=tchebycheff",)),
    Case(
        "panacea, augmented smooth Tchebycheff",
        "panacea",
        ("scalarize=tchebycheff", "scalarize.augment=0.3", "scalarize.temperature=0.5"),
        3,
    ),
    Case("panacea, minimum across objectives", "panacea", ("scalarize=minimum", "scalarize.augment=0.3"), 3),
    Case("panacea, Tchebycheff of expectations", "panacea", (*EXPECTED, "preference=sample")),
    Case(
        "panacea, Tchebycheff of expectations, unequal prompts",
        "panacea",
        (*EXPECTED, *NEAR, "preference=sample"),
        unequal=True,
    ),
    Case("panacea, Tchebycheff of each prompt", "panacea", (*PROMPT, "preference=group")),
    Case(
        "panacea, Tchebycheff of each prompt, unequal prompts",
        "panacea",
        (*PROMPT, *NEAR, "preference=group"),
        unequal=True,
    ),
    Case("ppo, LoRA", "ppo"),
    Case("ppo, all weights", "ppo", ("adapter=full",)),
    Case("ppo, LoRA, recomputed activations", "ppo", ("model.gradient_checkpointing=true",)),
    Case("ppo_lag, LoRA, a floor", "ppo_lag", FLOOR),
    Case(
        "ppo_lag, all weights, a floor, constant weight of the KL",
        "ppo_lag",
        (*FLOOR, "adapter=full", "scalarize.constant_kl=true"),
    ),
    Case("rloo, linear", "rloo"),
    Case("rloo_lag, LoRA, a floor", "rloo_lag", FLOOR, 3),
    Case("hc_rlhf, LoRA, a floor under a bound", "hc_rlhf", (*FLOOR, *CONFIDENT), 3),
    Case("rloo, one objective", "rloo", objectives=1),
    Case("rloo, Tchebycheff of responses", "rloo", ("scalarize=tchebycheff",), 3),
    Case(
        "rloo, Tchebycheff of each prompt, unequal prompts", "rloo", (*PROMPT, *NEAR, "preference=group"), unequal=True
    ),
    Case("reinforce, linear", "reinforce"),
    Case("reinforce, LoRA, 3 objectives", "reinforce", ONE, 3),
    Case("grpo, linear", "grpo"),
    Case("grpo, one objective", "grpo", objectives=1),
    Case("gdpo, linear", "gdpo"),
    Case("gdpo, LoRA, 3 objectives", "gdpo", ONE, 3),
    Case("gd2po, linear", "gd2po"),
    Case("pg_panacea, linear", "pg_panacea"),
    Case("panacea_lag, a floor at every preference", "panacea_lag", FLOOR, 3),
    Case("exact, linear", "exact"),
    Case("exact, Tchebycheff of responses", "exact", ("scalarize=tchebycheff",)),
    Case("exact, Tchebycheff of expectations", "exact", EXPECTED, 3),
    Case("exact, Tchebycheff of expectations, unequal prompts", "exact", (*EXPECTED, *NEAR), unequal=True),
    Case("exact, Tchebycheff of each prompt", "exact", PROMPT, 3),
    Case("exact, Tchebycheff of each prompt, unequal prompts", "exact", (*PROMPT, *NEAR), unequal=True),
)


class Table(Scorer):
    """Rewards of (prompt, response) drawn once, in double precision, already in standard units.

    Where prompts are ``unequal``, two points are taken off another objective on each of the two, and the draws halved.
    """

    def __init__(self, objectives: Sequence[str], generator: torch.Generator, *, unequal: bool) -> None:
        count = len(objectives)
        units = Standardization(mean=torch.zeros(count), std=torch.ones(count), provenance={})
        super().__init__(objectives, units)
        self.generator, self.table, self.unequal = generator, dict[tuple[str, str], Tensor](), unequal

    def raw(self, prompts: Sequence[str], responses: Sequence[str], sampled: Any = None) -> RewardBelief:
        rows = [self.reward(*pair) for pair in zip(prompts, responses, strict=True)]
        atoms = torch.stack(rows)[..., None]
        return RewardBelief(atoms=atoms, weights=torch.ones_like(atoms), kind="point")

    def reward(self, prompt: str, response: str) -> Tensor:
        if (prompt, response) not in self.table:
            drawn = torch.randn(len(self.objectives), dtype=torch.float64, generator=self.generator)
            if self.unequal:
                drawn = drawn / 2
                drawn[PROMPTS.index(prompt)] -= 2
            self.table[prompt, response] = drawn
        return self.table[prompt, response]


class Weighed(Scalarizer):
    """A scalarizer of means whose rows count by their probability."""

    def __init__(self, scalarize: Any, weights: Tensor) -> None:
        self.scalarize, self.weights = scalarize, weights
        self.shares = scalarize.shares  # type: ignore[misc]

    def streams(self, rewards: Tensor, preference: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        given: tuple[Tensor, Tensor] = self.scalarize.streams(rewards, preference, prompts, self.weights)
        return given


@dataclass
class Setting:
    """An algorithm on random parameters, with all that the reference needs."""

    case: Case
    seed: int
    folder: Path
    preferences: Tensor = field(init=False)  # (K, M)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.algo = algorithm(self.case.command, self.folder, self.seed)
        context, self.scalarize = self.algo.context, self.algo.context.scalarize
        self.model, tokenizer = context.starting_policy()
        self.encoder = context.encoder(tokenizer)
        self.scorer = Table(context.corpus.objectives, self.generator, unequal=self.case.unequal)
        self.policy = self._policy()
        least = 5.0 if self.case.unequal else 0.1
        weights = torch.rand(2, self.case.objectives, dtype=torch.float64, generator=self.generator) + least
        if self.case.algo == "panacea_lag":
            weights[:, 1] = 0.0  # what has a floor steers nothing
        if self.case.algo == "hc_rlhf":
            weights[1] = weights[0]  # moments are those of one policy
        self.preferences = weights / weights.sum(1, keepdim=True)
        self._enumerate()

    def _policy(self) -> Policy:
        """The policy that training builds, in double precision, moved away from its reference at random."""
        policy = policy_of(self.algo, self.model).double()
        if policy.adapter.frozen is not None:
            policy.adapter.frozen.double()
        self.move(policy, 0.4)
        return policy

    @torch.no_grad()
    def move(self, policy: Policy, size: float) -> None:
        """Add noise to everything that is trained."""
        for parameter in (p for p in policy.parameters() if p.requires_grad):
            parameter.add_(size * torch.randn(parameter.shape, dtype=torch.float64, generator=self.generator))

    def _enumerate(self) -> None:
        """Every response, by its own rule: words in any order up to an end, or as many as fit without one."""
        end = self.encoder.eos
        content = [token for token in range(len(self.encoder.tokenizer)) if token != end]
        ended = [(*words, end) for count in range(LENGTH) for words in product(content, repeat=count)]
        self.responses = ended + list(product(content, repeat=LENGTH))
        words = [[token for token in response if token != end] for response in self.responses]
        self.texts = [self.encoder.tokenizer.decode(row) for row in words]
        rewards = [[self.scorer.reward(prompt, text) for text in self.texts] for prompt in PROMPTS]
        self.rewards = torch.stack([torch.stack(row) for row in rewards])  # (X, Y, M)
        cut = torch.tensor([end not in response for response in self.responses])
        if self.case.penalty:
            self.rewards = self.rewards - self.case.penalty * cut.double()[:, None]

    # --- the reference ---------------------------------------------------------------------------------------------

    def trained(self) -> list[torch.nn.Parameter]:
        """The parameters of the adapter, or all."""
        return [parameter for group in self.policy.adapter.groups() for parameter in group["params"]]

    def token_logps(self, preference: Tensor | None) -> list[list[Tensor]]:
        """Log-probabilities of the tokens of each response to each prompt, from dense weights, without padding."""
        merged = {}
        for path, layer in self.policy.adapter.layers.items():
            weight = layer.base.weight
            if preference is not None and isinstance(layer, LoRALinear):
                weight = weight + layer.scale * layer.B[0] @ layer.A[0]
            elif preference is not None:
                diagonal = torch.cat([layer.sigma, layer.s * preference])
                weight = weight + layer.scale * layer.U @ torch.diag(diagonal) @ layer.V.T
            merged[f"{path}.base.weight"] = weight
        model = self.policy.adapter.frozen if preference is None else None
        found = []
        for prompt in PROMPTS:
            start = self.encoder.prompt(prompt)
            together: list[Tensor] = [torch.empty(0)] * len(self.responses)
            for length in range(1, LENGTH + 1):
                places = [i for i, response in enumerate(self.responses) if len(response) == length]
                ids = torch.tensor([[*start, *self.responses[i]] for i in places])
                with self.policy.adapter.off():
                    output = torch.func.functional_call(model or self.model, merged, (ids,), {"use_cache": False})
                logs = output.logits[:, len(start) - 1 : -1].log_softmax(-1)
                chosen = logs.gather(-1, ids[:, len(start) :, None]).squeeze(-1)
                for place, row in zip(places, chosen, strict=True):
                    together[place] = row
            found.append(together)
        return found

    def logps(self, preference: Tensor | None) -> Tensor:
        """Log-probabilities (X, Y) of all responses."""
        return torch.stack([torch.stack([row.sum() for row in rows]) for rows in self.token_logps(preference)])

    def utility(self, preference: Tensor) -> Tensor:
        """``E gain - beta KL`` written out; a minimum of expectations over all prompts, or of those of each prompt."""
        logps, ref_logps = self.logps(preference), self.logps(None).detach()
        share = logps.exp() / len(PROMPTS)
        kl = (share * (logps - ref_logps)).sum()
        if isinstance(self.scalarize, Lagrangian):
            price = KL_COEF if self.scalarize.constant_kl else KL_COEF / (1 + MULTIPLIER)
            gain = (share * self.gains(preference)).sum()
            if self.case.algo == "hc_rlhf":
                floored = self.rewards[..., 1]
                variance = (share * floored**2).sum() - (share * floored).sum() ** 2
                gain = gain - MULTIPLIER * PER_DEVIATION * variance.sqrt() / (1 + MULTIPLIER)
            return gain - price * kl
        if not self.scalarize.shares:
            return (share * self.gains(preference)).sum() - KL_COEF * kl
        terms = preference * ((logps.exp()[..., None] * self.rewards).sum(1) - self.scalarize.ideal)  # (X, M)
        if isinstance(self.scalarize, TchebycheffExpected):
            least = terms.mean(0).min()
        else:
            least = torch.stack([row.min() for row in terms]).mean()
        return least + self.scalarize.augment * terms.sum(1).mean() - KL_COEF * kl

    def gains(self, preference: Tensor) -> Tensor:
        """The gain of every response (X, Y), from the definitions."""
        if isinstance(self.scalarize, Linear):
            return (preference * self.rewards).sum(-1)
        if isinstance(self.scalarize, Lagrangian):  # the second objective counts by its multiplier alone
            others = [i for i in range(self.case.objectives) if i != 1]
            weighted = (preference * self.rewards)[..., others].sum(-1) / preference[others].sum()
            return (weighted + MULTIPLIER * self.rewards[..., 1]) / (1 + MULTIPLIER)
        if isinstance(self.scalarize, Minimum):  # every weight is above 0 here
            return self.rewards.min(-1).values + self.scalarize.augment * (preference * self.rewards).sum(-1)
        gaps = preference * (self.rewards - self.scalarize.ideal)
        softness = self.scalarize.temperature
        least = -softness * torch.logsumexp(-gaps / softness, -1) if softness else gaps.min(-1).values
        return least + self.scalarize.augment * gaps.sum(-1)

    def exact_gradient(self) -> Tensor:
        """Gradient of the mean utility over the preferences, or of what an estimator that normalizes aims at."""
        self.policy.eval()  # without recomputation
        if self.case.algo in NORMALIZED:
            return _flat(torch.autograd.grad(self.surrogate(), self.trained()))
        mean = torch.stack([self.utility(preference) for preference in self.preferences]).mean()
        return _flat(torch.autograd.grad(mean, self.trained()))

    def surrogate(self) -> Tensor:
        """``E_pi A`` with advantages A, held fixed, that are normalized over all answers to a prompt, written out."""
        logps, ref_logps = [self.logps(preference) for preference in self.preferences], self.logps(None).detach()
        total = torch.zeros((), dtype=torch.float64)
        for x, rewards in enumerate(self.rewards):
            kls = [KL_COEF * (one[x].detach() - ref_logps[x]) for one in logps]
            every = torch.cat([rewards - kl[:, None] for kl in kls])  # the returns of all answers, (K Y, M)
            terms = (
                self.preferences.repeat_interleave(len(rewards), 0) * (every - every.mean(0)) / (every.std(0) + 1e-4)
            )
            opposed = (terms.min(1).values < 0) & (terms.max(1).values > 0)
            kept = ~(opposed & (terms.sum(1).abs() < 0.2 * terms.abs().sum(1)))
            for k, (preference, own, kl) in enumerate(zip(self.preferences, logps, kls, strict=True)):
                returns = rewards - kl[:, None]
                if self.case.algo in ("gdpo", "gd2po"):
                    rows = slice(k * len(rewards), (k + 1) * len(rewards))
                    advantages = terms[rows].sum(1)
                    if self.case.algo == "gd2po":
                        advantages = torch.where(kept[rows], advantages, 0.0) * kept.double().mean()
                else:
                    gains, all_gains = returns @ preference, every @ preference
                    advantages = (gains - all_gains.mean()) / (all_gains.std() + 1e-4)
                total = total + (own[x].exp() * advantages).sum()
        return total / (len(PROMPTS) * len(self.preferences))

    # --- the code under test ---------------------------------------------------------------------------------------

    def experience(self) -> Any:
        """Every response to every prompt at every preference, as the rollout that training would make of them.

        Where a gain takes means over rows, each row counts there by its probability, as it would in a large sample.
        """
        collector = collector_of(self.algo, self.scorer, self.encoder)
        count = len(self.responses)
        rows = [Row(prompt=prompt) for prompt in PROMPTS for _ in self.preferences for _ in range(count)]
        prompts: Prompts = collate.prompts(rows, self.encoder)
        preference = self.preferences.repeat_interleave(count, 0).repeat(len(PROMPTS), 1)
        padded = [[*response, *[self.encoder.eos] * (LENGTH - len(response))] for response in self.responses]
        mask = [[place < len(response) for place in range(LENGTH)] for response in self.responses]
        repeats = len(PROMPTS) * len(self.preferences)
        tokens, response = torch.tensor(padded).repeat(repeats, 1), torch.tensor(mask).repeat(repeats, 1)
        if self.scalarize.shares:
            with torch.no_grad():
                share = torch.stack([self.logps(one) for one in self.preferences], 1).exp().flatten()  # as the rows lie
            self.algo.context.scalarize = Weighed(self.scalarize, share)
        if self.case.algo == "hc_rlhf":
            share = self.logps(self.preferences[0]).detach().exp()[..., None] / len(PROMPTS)
            powers = [(share * self.rewards**power).sum((0, 1)) for power in (1, 2)]
            self.scalarize.bound.moments = torch.stack(powers)[..., None]
            self.scalarize.observe = lambda *_: None  # as a large sample would have them
        rows = collector.read(self.policy, prompts, preference, tokens, response, 0)
        rows.group = torch.arange(len(PROMPTS)).repeat_interleave(count * len(self.preferences))
        self.algo.credit(rows)
        return rows

    def surrogate_gradient(self) -> Tensor:
        """Gradient of the shipped loss on that rollout, rows weighted by their probability, as an ascent direction."""
        if self.case.algo == "exact":
            return self._of_exact()
        rows = self.experience()
        share = rows.old_logps.mul(rows.response).sum(-1).exp()
        if self.case.algo in ("rloo", "rloo_lag", "hc_rlhf", "pg_panacea"):
            # The mean of the others depends on an answer's own return where all answers stand in the rollout once: it
            # is S / (N - 1) - R / (N - 1), so the gradient comes out N / (N - 1) times as large.
            size = len(rows.ids) / len(PROMPTS)
            share = share * (size - 1) / size
        rows.advantages = rows.advantages * share[:, None]
        _, gradient = self.loss(rows)
        return -gradient * rows.normalizer / (len(PROMPTS) * len(self.preferences))

    def loss(self, rows: Any) -> tuple[float, Tensor]:
        """The shipped loss of a rollout and its gradient."""
        self.policy.train()
        loss, _ = self.algo.loss(self.policy, rows)
        return float(loss.detach()), _flat(torch.autograd.grad(loss, self.trained()))

    def _of_exact(self) -> Tensor:
        device = torch.device("cpu")
        everything = Enumeration([Row(prompt=p) for p in PROMPTS], self.encoder, device, limit=200)
        rewards = everything.rewards(self.scorer, self.algo.context.risk)
        with torch.no_grad(), self.policy.off():
            ref_logps = everything.logps(self.policy, None)
        for preference in self.preferences:
            self.algo.loss(self.policy, everything, ref_logps, rewards, preference)[0].backward()
        gradient = _flat([parameter.grad for parameter in self.trained()])
        return -gradient * self.algo.preferences / len(self.preferences)


def relative_error(case: Case, seed: int) -> float:
    """``|surrogate - exact| / |exact|`` over all parameters of the adapter."""
    with TemporaryDirectory() as folder:
        setting = Setting(case, seed, Path(folder))
        exact, surrogate = setting.exact_gradient(), setting.surrogate_gradient()
    return float((surrogate - exact).norm() / exact.norm())


def _flat(gradients: Sequence[Tensor | None]) -> Tensor:
    assert all(gradient is not None for gradient in gradients)
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def algorithm(command: Sequence[str], folder: Path, seed: int) -> Any:
    """The algorithm of a command with its parts, as training makes them, in a run folder of its own."""
    config = composed(*command)
    runtime = build(config["runtime"])
    made = {name: build(config[name]) for name in PARTS}
    context = Context(
        seed=seed,
        folder=RunFolder.open(folder, "run", {}, config="", overrides="", diff="", runtime=runtime),
        runtime=runtime,
        corpus=build(config["dataset"]).load(tuple(config["objectives"]["names"]), seed),
        policy=None,
        reward_folder=None,
        trunk_folder=None,
        teacher_folder=None,
        provenance={},
        **made,
    )
    return build(config["algo"], _partial_=True)(context=context)


def main() -> None:
    """Print the table: algorithm, largest relative error over three seeds."""
    print("| algorithm | largest relative error of the gradient, 3 seeds |\n| --- | --- |")
    for case in CASES:
        print(f"| {case.name} | {max(relative_error(case, seed) for seed in range(3)):.1e} |", flush=True)


if __name__ == "__main__":
    main()
