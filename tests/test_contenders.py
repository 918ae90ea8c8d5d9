"""What the runs of a comparison say of themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mora.errors import InputError
from mora.evaluation.pairing import pairing
from mora.files import write_json
from mora.run.compared import Opened, check_alike
from mora.runtime.folder import RunFolder


def opened(folder: Path, seed: int, *, data: str | None, **upstream: object) -> Opened:
    """A run as its folder tells it."""
    folder.mkdir()
    identity = {"seed": seed} | ({"upstream": upstream} if upstream else {})
    if data is not None:
        write_json(folder / "dataset.json", {"fingerprint": data})
    return Opened(folder=RunFolder(path=folder, _identity=identity), config={"seed": seed})


def test_a_run_stands_on_its_data_and_on_what_it_started_from(tmp_path: Path) -> None:
    run = opened(tmp_path / "a", 3, data="f00d", policy="sft-tiny-1", reward={"sha256": "abc"})
    assert run.origin.seed == 3
    assert run.origin.stands_on == {
        "data": "f00d",
        "starting policy": '"sft-tiny-1"',
        "reward model": '{"sha256":"abc"}',
    }
    assert opened(tmp_path / "b", 0, data=None).origin.stands_on == {}


def test_rewards_of_two_kinds_share_data_and_starting_policy(tmp_path: Path) -> None:
    kinds = [
        [opened(tmp_path / f"{kind}{seed}", seed, data=f"d{seed}", policy=f"sft{seed}").origin for seed in (0, 1)]
        for kind in ("scalar", "qr")
    ]
    assert pairing(*kinds).said == "seeds paired (the same data, starting policy)"


OTHER = "score objectives of the same names by other rules"


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"names": ["short"], "rules": {"short": {"best": 5}}, "code": {"own": "1"}}, None),
        ({"names": ["short"], "rules": {"short": {"best": 9}}, "code": {"own": "1"}}, OTHER),
        ({"names": ["short"], "rules": {"short": {"best": 5}}, "code": {"own": "2"}}, OTHER),
        ({"names": ["long"], "rules": {"short": {"best": 5}}, "code": {"own": "1"}}, "of the same objectives"),
    ],
)  # fmt: skip
def test_runs_are_compared_by_the_same_rules_alone(second, message):
    def run(names, rules, code):
        identity = {"objectives": {"names": names, "rules": rules}, "code": code}
        folder = SimpleNamespace(id="run", identity=identity)
        return SimpleNamespace(folder=folder, config={"objectives": {"names": names}})

    first = run(["short"], {"short": {"best": 5}}, {"own": "1"})
    if message is None:
        check_alike([first, run(**second)])
        return
    with pytest.raises(InputError, match=message):
        check_alike([first, run(**second)])
