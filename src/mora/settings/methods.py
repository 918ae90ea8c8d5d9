"""What several configurations have in common: which runs are seeds of one method, and what sets methods apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mora.settings.declared import handed
from mora.settings.identity import canonical_json, flatten

NO_RESULT = ("seed", "paths", "tracker", "evaluation", "plugins")  # sections that a method does not consist of
LONGEST = 40  # characters of what a label says of settings


def same_but_for_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a method is: the configuration without its seed and without what no result of training depends on.

    A start that is named is another for every seed; that one is named counts, and not which.
    """
    kept = {key: value for key, value in config.items() if key not in NO_RESULT}
    kept |= {key: handed(kept[key], key) for key in ("algo", "reward") if key in kept}
    kept |= {"algo": kept["algo"] | {"name": config["algo"].get("name")}} if "algo" in kept else {}
    if "start" in kept:
        kept["start"] = {key: _whether_named(value) for key, value in config["start"].items()}
    return kept | {"runtime": config["runtime"]["precision"]}


def _whether_named(start: Any) -> Any:
    return start if not isinstance(start, str) or start in ("auto", "never") else "named"


def differing(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each configuration the settings in which not all that have them agree, by dotted key.

    An algorithm goes by its name, any other section whose classes differ by its class (by the module of it, where no
    two share one); the keys of a section are compared among configurations of the same class.
    """
    trees = [same_but_for_seed(config) for config in configs]
    names = [{key: _class_name(key, tree, trees) for key in tree} for tree in trees]
    called = [tree.get("algo", {}).pop("name", None) for tree in trees]
    flat = [flatten(tree) for tree in trees]
    apart: list[dict[str, Any]] = []
    for own, name, algo in zip(flat, names, called, strict=True):
        found = {key: said for key, said in name.items() if said is not None}
        found |= {"algo": algo} if len(set(called)) > 1 else {}
        for key, value in own.items():
            section = key.partition(".")[0]
            alike = [one for one, other in zip(flat, names, strict=True) if other.get(section) == name[section]]
            if any(canonical_json(one[key]) != canonical_json(value) for one in alike if key in one):
                found[key] = value
        apart.append(dict(sorted(found.items())))
    return apart


def _class_name(key: str, tree: Mapping[str, Any], trees: Sequence[Mapping[str, Any]]) -> str | None:
    """What the class of a section is called, where not all that have the section have the same; else None."""
    targets = {str(one[key].get("_target_")) for one in trees if isinstance(one.get(key), Mapping)}
    if len(targets) < 2:
        return None
    modules = {target.rpartition(".")[0] for target in targets}
    module, _, name = str(tree[key]["_target_"]).rpartition(".")
    return module.rpartition(".")[2] if len(modules) == len(targets) else name


def labels(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A short name for each: its algorithm, and the settings that set it apart from others of that algorithm.

    Two that would read alike are numbered.
    """
    names = []
    for config in configs:
        algo = config["algo"]["name"]
        alike = [other for other in configs if other["algo"]["name"] == algo]
        own = differing(alike)[alike.index(config)]
        said = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in own.items())
        names.append(f"{algo} {said}".strip() if len(said) <= LONGEST else algo)
    return [f"{name} #{names[:i].count(name) + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]
