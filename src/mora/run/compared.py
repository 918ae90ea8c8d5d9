"""The runs that a comparison is between: found, opened, and grouped into methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mora.errors import InputError
from mora.evaluation import budget
from mora.evaluation.pairing import Origin
from mora.files import read_object, remove
from mora.latest import IDENTITY
from mora.run.measure import reward_folder
from mora.run.opened import open_run
from mora.run.plan import short_name
from mora.runtime.folder import RunFolder
from mora.settings.compose import choices, diff_from_defaults
from mora.settings.declared import handed
from mora.settings.identity import canonical_json, plain, to_yaml
from mora.settings.methods import differing, labels, same_but_for_seed
from mora.settings.secrets import masked

POLICY, REWARD = ("policy", "model"), ("reward",)  # folders, one of which a run must hold


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A finished run of a policy or of a reward model."""

    folder: RunFolder
    config: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The sections of the configuration that training read."""
        read = {*self.folder.identity, "runtime", *(["start"] if "upstream" in self.folder.identity else [])}
        return {key: section for key, section in self.config.items() if key in read}

    @property
    def method(self) -> str:
        """A text that is the same for the seeds of one method: settings, and the content of what they name."""
        content = {key: self.folder.identity[key] for key in ("dataset", "model") if key in self.folder.identity}
        return canonical_json(same_but_for_seed(self.settings) | content)

    @property
    def origin(self) -> Origin:
        """The seed, and what the run shares with others of that seed: data, policy that it started from, reward."""
        described = self.folder.path / "dataset.json"
        stands_on = {"data": str(read_object(described, ["fingerprint"])["fingerprint"])} if described.is_file() else {}
        titles = {"policy": "starting policy", "reward": "reward model"}
        for name, content in self.folder.identity.get("upstream", {}).items():
            stands_on[titles.get(name, name)] = canonical_json(content)
        return Origin(seed=self.config["seed"], stands_on=stands_on)

    @property
    def trainer(self) -> str | None:
        """Whose scores trained the policy: "gold", the id of a reward run or its folder; None where nothing scored."""
        if (self.folder.path / "model").is_dir():
            return None
        if self.config["reward"]["origin"] == "rules":
            return "gold"
        named = self.folder.identity["upstream"]["reward"]
        return named if isinstance(named, str) else str(reward_folder(self.folder, self.config))


def open_runs(runs: Any, root: str, products: Sequence[str] = POLICY) -> dict[str, list[Opened]]:
    """The runs of each method, by the method's name; each must hold one of ``products``."""
    if isinstance(runs, Mapping):
        named = {str(label): [given] if isinstance(given, str) else given for label, given in runs.items()}
        empty = [label for label, given in named.items() if not given]
        if empty:
            raise InputError(f"runs: {', '.join(empty)} names no run")
        found = {label: [_opened(str(run), root, products) for run in given] for label, given in named.items()}
    else:
        opened = [_opened(str(run), root, products) for run in runs]
        groups: dict[str, list[Opened]] = {}
        for run in opened:
            groups.setdefault(run.method, []).append(run)
        names = labels([group[0].settings for group in groups.values()])
        found = dict(zip(names, groups.values(), strict=True))
    ids = [run.folder.id for group in found.values() for run in group]
    twice = sorted({run for run in ids if ids.count(run) > 1})
    if twice:
        raise InputError(f"runs: {', '.join(twice)} is named twice; a comparison takes each run once")
    return found


def _opened(run: str, root: str, products: Sequence[str]) -> Opened:
    folder, config = open_run(run, root)
    if not any((folder.path / product).is_dir() for product in products):
        missing = "policy" if products == POLICY else "reward model"
        raise InputError(f"runs: {folder.path} holds no {missing}; name runs that trained one")
    return Opened(folder=folder, config=config)


def check_alike(runs: Sequence[Opened]) -> None:
    """Raises InputError unless all runs have the same objectives, in the same order and by the same rules."""
    first = runs[0]
    names, rules = first.config["objectives"]["names"], _rules(first)
    for run in runs[1:]:
        others = run.config["objectives"]["names"]
        if others != names:
            raise InputError(
                f"runs: {first.folder.id} has the objectives {', '.join(names)}, {run.folder.id} has "
                f"{', '.join(others)}; compare runs of the same objectives, in the same order"
            )
        if _rules(run) != rules:
            raise InputError(
                f"runs: {first.folder.id} and {run.folder.id} score objectives of the same names by other rules "
                "(objectives.rules, or the code of a package); compare runs of the same rules"
            )


def _rules(run: Opened) -> Any:
    code = run.folder.identity.get("code") if "rules" in run.folder.identity["objectives"] else None
    return run.folder.identity["objectives"].get("rules"), code


def open_comparison(
    cfg: DictConfig, overrides: Sequence[str], groups: Mapping[str, Sequence[Opened]], kind: str, **more: Any
) -> RunFolder:
    """The folder of a comparison, ``<kind>-<dataset>-<hash>``: of the runs, what they are asked, and ``more``."""
    settings = {key: value for key, value in handed(plain(cfg.evaluation), "evaluation").items() if key != "batch_size"}
    identity = {
        "runs": {label: [run.folder.id for run in group] for label, group in groups.items()},
        "evaluation": settings,
        **more,
    }
    first, chosen = groups[next(iter(groups))][0], choices("evaluate", overrides)["evaluation"]
    return RunFolder.open(
        Path(cfg.paths.runs),
        f"{kind}-{short_name(first.config['dataset'])}",
        masked(identity, plain(cfg)),
        config=to_yaml(cfg),
        overrides=to_yaml({"command": "python -m mora.evaluate", "overrides": list(overrides)}, plain(cfg)),
        diff=to_yaml(diff_from_defaults(cfg, "evaluate", overrides=[f"evaluation={chosen}"]), plain(cfg)),
    )


@contextmanager
def whole_or_absent(folder: RunFolder) -> Iterator[None]:
    """Hold the folder of a comparison: one that fails leaves none, unless it was finished before.

    What was sampled for one that the user stops stays, for the next time.
    """
    with folder.lock():
        try:
            yield
        except Exception:
            if not folder.finished:
                remove(folder.path)
            raise


# --- what is said of the runs ----------------------------------------------------------------------------------------


def facts(groups: Mapping[str, Sequence[Opened]]) -> list[dict[str, Any]]:
    """Of each method: its runs and seeds, the settings that set it apart, and what it spent."""
    settings = differing([group[0].settings for group in groups.values()])
    found = []
    for group, own in zip(groups.values(), settings, strict=True):
        first = group[0]
        spent = [budget.spent(run.folder.path) for run in group]
        chains = [budget.chain(run.folder.path) for run in group]
        whole = not any(budget.missing(run.folder.path) for run in group)
        stages = [{"run": run.name, "algo": _algorithm(run), **budget.spent(run)} for run in chains[0]]
        found.append(
            {
                "runs": [run.folder.id for run in group],
                "seeds": [run.config["seed"] for run in group],
                "algo": first.config["algo"]["name"],
                "model": first.config["model"]["name"],
                "smoke": bool(first.config["model"]["smoke"]),
                "settings": own,
                "budget": {
                    "run": _average(spent),
                    "chain": _average([budget.total(chain) for chain in chains]) if whole else dict.fromkeys(spent[0]),
                    "stages": stages,
                },
            }
        )
    return found


def _algorithm(run: Path) -> str:
    return str(read_object(run / IDENTITY, ["algo.name"])["algo"]["name"])


def _average(budgets: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Means over seeds, the peak of memory too; None where one does not say."""
    means: dict[str, float | None] = {}
    for name in budgets[0]:
        values = [value for one in budgets if (value := one[name]) is not None]
        means[name] = sum(values) / len(values) if len(values) == len(budgets) else None
    return means


def smoke_warnings(groups: Mapping[str, Sequence[Opened]]) -> list[str]:
    """That a model is only good for trying things out."""
    runs = [run for group in groups.values() for run in group]
    small = sorted({run.config["model"]["name"] for run in runs if run.config["model"]["smoke"]})
    if not small:
        return []
    return [
        f"Smoke model: {', '.join(small)} is tiny and starts from random weights; these figures say nothing about "
        "a real model. On real texts it may lose to a bag of words."
    ]


def seed_warnings(groups: Mapping[str, Sequence[Opened]]) -> list[str]:
    """Which methods have one seed, or the same one twice."""
    found = []
    single = [label for label, group in groups.items() if len(group) == 1]
    if single:
        found.append(
            f"One seed of {', '.join(single)}: a verdict about it is one about these weights, not about the method."
        )
    for label, group in groups.items():
        seeds = [run.config["seed"] for run in group]
        if len(set(seeds)) < len(seeds):
            found.append(f"{label} has runs of the same seed ({', '.join(map(str, seeds))}): they are no repetitions.")
    return found
