"""The runs that a comparison is between: found, opened, and grouped into methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mora.errors import InputError
from mora.running import reward_folder
from mora.runs import open_run
from mora.runtime.folder import RunFolder
from mora.settings.identity import canonical_json
from mora.settings.methods import labels, same_but_for_seed
from mora.stages import GOLD, PRODUCT


@dataclass(frozen=True, kw_only=True, eq=False)
class Opened:
    """A finished run of a policy."""

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
    def trainer(self) -> str | None:
        """Whose scores trained the policy: "gold", the id of a reward run or its folder; None where nothing scored."""
        if (self.folder.path / PRODUCT["policy"]).is_dir():
            return None
        if self.config["reward"]["_target_"] == GOLD:
            return "gold"
        named = self.folder.identity["upstream"]["reward"]
        return named if isinstance(named, str) else str(reward_folder(self.folder, self.config))


def open_runs(runs: Any, root: str) -> dict[str, list[Opened]]:
    """The runs of each method, by the method's name."""
    if isinstance(runs, Mapping):
        named = {str(label): [given] if isinstance(given, str) else given for label, given in runs.items()}
        empty = [label for label, given in named.items() if not given]
        if empty:
            raise InputError(f"runs: {', '.join(empty)} names no run")
        found = {label: [_opened(str(run), root) for run in given] for label, given in named.items()}
    else:
        opened = [_opened(str(run), root) for run in runs]
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


def _opened(run: str, root: str) -> Opened:
    folder, config = open_run(run, root)
    if not any((folder.path / product).is_dir() for product in ("policy", PRODUCT["policy"])):
        raise InputError(f"runs: {folder.path} holds no policy; name runs that trained one")
    return Opened(folder=folder, config=config)


def check_alike(runs: Sequence[Opened]) -> None:
    """Raises InputError unless all runs have the same objectives, in the same order."""
    first = runs[0]
    names = first.config["objectives"]["names"]
    for run in runs[1:]:
        others = run.config["objectives"]["names"]
        if others != names:
            raise InputError(
                f"runs: {first.folder.id} has the objectives {', '.join(names)}, {run.folder.id} has "
                f"{', '.join(others)}; compare runs of the same objectives, in the same order"
            )
