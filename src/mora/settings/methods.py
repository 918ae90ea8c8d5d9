"""What several configurations have in common: which runs are seeds of one method, and what sets methods apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mora.settings.identity import canonical_json, flatten

NO_RESULT = ("seed", "paths", "tracker", "evaluation", "plugins")  # sections that a method does not consist of
LONGEST = 40  # characters of what a label says of settings


def same_but_for_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a method is: the configuration without its seed and without what no result of training depends on."""
    kept = {key: value for key, value in config.items() if key not in NO_RESULT}
    return kept | {"runtime": config["runtime"]["precision"]}


def differing(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each configuration the settings in which not all that have them agree, by dotted key.

    Where the classes of a section differ, the section stands for its keys: by the class' module, or, where two share a
    module, by the class.
    """
    trees = [_named(same_but_for_seed(config), configs) for config in configs]
    flat = [flatten(tree) for tree in trees]
    keys = sorted({key for one in flat for key in one})
    apart = [key for key in keys if len({canonical_json(one[key]) for one in flat if key in one}) > 1]
    return [{key: one[key] for key in apart if key in one} for one in flat]


def _named(config: dict[str, Any], configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {}
    for key, section in config.items():
        targets = {str(one[key].get("_target_")) for one in configs if isinstance(one.get(key), Mapping)}
        part = -2 if len({target.rpartition(".")[0] for target in targets}) == len(targets) else -1  # module, or class
        found[key] = str(section["_target_"]).split(".")[part] if len(targets) > 1 else section
    return found


def labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short name for each: its algorithm, and the settings that set it apart from others of that algorithm.

    Two that would read alike are numbered.
    """
    names = []
    for config in configs:
        algo = str(config["algo"]["_target_"]).split(".")[-2]
        alike = [other for other in configs if other["algo"]["_target_"] == config["algo"]["_target_"]]
        own = differing(alike)[alike.index(config)]
        said = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in own.items())
        names.append(f"{algo} {said}".strip() if len(said) <= LONGEST else algo)
    return [f"{name} #{names[:i].count(name) + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]
