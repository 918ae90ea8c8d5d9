"""What a configuration may build: the objects that each place of it may name, and packages that the user named.

``conf/`` names all of these, and a test asserts that it names nothing else.  Whatever a configuration comes from, an
object that is not listed for its place is refused, and so is an object of a package that the command line did not name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mora.errors import InputError
from mora.settings.declared import SPECIAL, stated
from mora.settings.targets import HOME, TargetError
from mora.settings.targets import check as check_target

ESTIMATORS = ("rloo", "reinforce", "grpo", "gdpo", "gd2po")
_KINDS = (
    "mora.reward.categorical.Categorical",
    "mora.reward.cost.Cost",
    "mora.reward.discriminant.Discriminant",
    "mora.reward.ensemble.Ensemble",
    "mora.reward.gaussian.Gaussian",
    "mora.reward.gold.Gold",
    "mora.reward.hub.Hub",
    "mora.reward.quantile.Quantile",
    "mora.reward.rating.Rated",
    "mora.reward.scalar.Scalar",
)
_READERS = (
    "mora.dataset.alpaca.farm",
    "mora.dataset.alpaca.rows",
    "mora.dataset.beavertails.rows",
    "mora.dataset.helpsteer.preference",
    "mora.dataset.helpsteer.rows",
    "mora.dataset.hh_rlhf.red_team",
    "mora.dataset.hh_rlhf.rows",
    "mora.dataset.hummer.rows",
    "mora.dataset.jsonl.rows",
    "mora.dataset.messages.rows",
    "mora.dataset.pku_saferlhf.rows",
    "mora.dataset.truthfulqa.choices",
    "mora.dataset.truthfulqa.rows",
    "mora.dataset.ultrafeedback.rows",
)
_PAIRING = ("mora.dataset.pairing.Pairing",)
_SOURCE = ("mora.dataset.source.Source",)

PLACES: Mapping[str, tuple[str, ...]] = {
    "adapter": ("mora.model.full.Full", "mora.model.lora.LoRA", "mora.model.svd_lora.SVDLoRA"),
    "algo": (
        "mora.algo.exact.Exact",
        "mora.algo.ppo.PPO",
        "mora.algo.policy_gradient.PolicyGradient",
        "mora.algo.reward_model.RewardModel",
        "mora.algo.sft.SFT",
    ),
    "algo.advantage": ("mora.functional.advantages.gae",),
    "algo.estimator": tuple(f"mora.functional.advantages.{name}" for name in ESTIMATORS),
    "algo.optimizer": ("mora.runtime.learner.Optimizer",),
    "algo.lora": ("mora.model.lora.LoRASettings",),
    "algo.rollout": ("mora.runtime.rollout.RolloutSettings",),
    "dataset": (
        *_SOURCE,
        "mora.dataset.mixture.Mixture",
        "mora.dataset.worlds.garden.Garden",
        "mora.dataset.worlds.oracle.Oracle",
    ),
    "dataset.read": _READERS,
    "dataset.pairing": _PAIRING,
    "dataset.sources": ("mora.dataset.mixture.Part",),  # settings/mixture.py writes the parts out; no YAML names them
    "dataset.sources.source": _SOURCE,
    "dataset.sources.source.read": _READERS,
    "dataset.sources.source.pairing": _PAIRING,
    "evaluation": (
        "mora.evaluation.compare.Compare",
        "mora.evaluation.floors.Floors",
        "mora.evaluation.front.Front",
        "mora.evaluation.optimum.Optimum",
        "mora.evaluation.regret.Regret",
        "mora.evaluation.safety.Safety",
        "mora.evaluation.reward_comparison.CompareRewards",
        "mora.evaluation.reward_model.Quality",
        "mora.evaluation.sections.Sections",
    ),
    "evaluation.quality": ("mora.evaluation.reward_model.Quality",),
    "model": ("mora.model.load.ModelSpec",),
    "model.rates": ("mora.model.suited.Rates",),
    "model.sizes": ("mora.model.suited.Sizes",),
    "model.steering": ("mora.model.suited.Steering",),
    "objectives.rules.*": (
        "mora.dataset.rules.text.json",
        "mora.dataset.rules.text.keywords",
        "mora.dataset.rules.text.length",
        "mora.dataset.rules.text.no_lists",
        "mora.dataset.rules.text.no_refusal",
        "mora.dataset.rules.text.number",
        "mora.dataset.rules.text.reading_ease",
        "mora.dataset.rules.text.sentiment",
    ),
    "preference": ("mora.functional.preference.Fixed", "mora.functional.preference.Sampler"),
    "reward": _KINDS,
    "reward.base": _KINDS,
    "reward.base.member": _KINDS,
    "reward.member": _KINDS,
    "reward.member.base": _KINDS,
    "risk": (
        "mora.functional.risk.cvar",
        "mora.functional.risk.entropic",
        "mora.functional.risk.lcb",
        "mora.functional.risk.mean",
        "mora.functional.risk.median",
        "mora.functional.risk.minimum",
        "mora.functional.risk.quantile",
        "mora.functional.risk.uwo",
    ),
    "runtime": ("mora.runtime.devices.Runtime",),
    "scalarize": (
        "mora.functional.lagrangian.Lagrangian",
        "mora.functional.scalarize.Linear",
        "mora.functional.scalarize.Minimum",
        "mora.functional.scalarize.Tchebycheff",
        "mora.functional.scalarize.TchebycheffExpected",
        "mora.functional.scalarize.TchebycheffPrompt",
        "mora.functional.tchebycheff.TchebycheffLearned",
    ),
    "scalarize.confidence": ("mora.functional.confidence.Confidence",),
    "task": (
        "mora.task.chat.Chat",
        "mora.task.check.Check",
        "mora.task.merge_annotators.MergeAnnotators",
        "mora.task.model_folder.Gguf",
        "mora.task.model_folder.PackagedModel",
        "mora.task.prompts.Prompts",
        "mora.task.ratings_to_pairs.Disagreement",
        "mora.task.ratings_to_pairs.RatingsToPairs",
        "mora.task.rrm.Rrm",
        "mora.task.split.Split",
        "mora.task.statistics.Statistics",
    ),
    "tracker": (
        "mora.runtime.track.NoTracker",
        "mora.runtime.track.Tensorboard",
        "mora.runtime.track.Wandb",
    ),
}
"""Objects of mora by the place that may name them (``*``: any key); items of a list stand in the place of the list."""

FUNCTIONS: tuple[str, ...] = (
    "algo.advantage",
    "algo.estimator",
    "dataset.read",
    "dataset.sources.source.read",
    "objectives.rules.*",
    "risk",
)
"""Places whose value is a function, so that ``_partial_: true`` may stand there."""

_named: list[str] = []  # packages outside mora, by the user of this process


def grant(packages: Sequence[str]) -> None:
    """From now on this process may build objects of ``packages``: those that its user named, never those of a file."""
    _named.extend(package for package in packages if package not in _named)


@contextmanager
def granted_only(packages: Sequence[str]) -> Iterator[None]:
    """While this lasts, ``packages`` are those that the user named."""
    before = list(_named)
    _named[:] = packages
    try:
        yield
    finally:
        _named[:] = before


def granted() -> tuple[str, ...]:
    """Packages outside mora that the user of this process named."""
    return tuple(_named)


def refused(tree: Any, place: tuple[str, ...] = ()) -> Iterator[str]:
    """A line for each object that a plain tree of settings names and may not; ``place`` is where the tree stands."""
    yield from _refused(tree, place, ".".join(place))


def check(config: Mapping[str, Any], where: str) -> None:
    """Raises InputError, with ``where`` it comes from, for a configuration that names an object which it may not."""
    problems = list(refused(config))
    if problems:
        raise InputError(f"{where}: {problems[0]}" if where else problems[0])


def check_section(section: Any) -> None:
    """The same for a section whose place is not known: it must be allowed as a whole in some place."""
    if isinstance(section, list):
        for item in section:
            check_section(item)
        return
    target = section.get("_target_") if isinstance(section, Mapping) else None
    places = [place for place, listed in PLACES.items() if target in listed] or list(PLACES)
    found = [list(refused(section, tuple(place.split(".")))) for place in places]
    problems = min(found, key=len)
    if problems:
        raise InputError(problems[0])


def _refused(value: Any, place: tuple[str, ...], where: str) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _refused(item, place, f"{where}[{index}]")
    elif isinstance(value, Mapping):
        yield from _special(value, place, where)
        for key, item in value.items():
            yield from _refused(item, (*place, str(key)), f"{where}.{key}" if where else str(key))


def _stands_in(place: tuple[str, ...], known: str) -> bool:
    """Whether ``place`` is the one that ``known`` describes."""
    steps = known.split(".")
    return len(steps) == len(place) and all(step in (own, "*") for step, own in zip(steps, place, strict=True))


def _special(section: Mapping[Any, Any], place: tuple[str, ...], where: str) -> Iterator[str]:
    """What is wrong with the keys by which a section says how it is built."""
    at = f"{where}." if where else ""
    for key in SPECIAL:
        if key not in section or key == "_target_":
            continue
        function = key == "_partial_" and "_target_" in section and section[key] is True
        if not (function and any(_stands_in(place, known) for known in FUNCTIONS)):
            yield f"{at}{key}: is not a key of this place; leave it out"
    if "_target_" not in section:
        return
    target = section["_target_"]
    try:
        definition = check_target(target, granted())
    except TargetError as error:
        yield f"{at}_target_: {error}"
        return
    listed = next((may for known, may in PLACES.items() if _stands_in(place, known)), ())
    if target.split(".")[0] == HOME and target not in listed:
        may = f"this place may name {', '.join(listed)}" if listed else "nothing is built in this place"
        yield f"{at}_target_: {target} may not be named here; {may}"
    elif definition is not None and not definition.open:
        known = {*definition.annotations, *SPECIAL, *stated(".".join(place))}
        names = [name for name in section if name not in known]
        yield from (f"{at}{name}: {target} takes no {name}" for name in names)
