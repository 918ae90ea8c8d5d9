from __future__ import annotations

from pathlib import Path

import pytest

from mora.errors import InputError
from mora.evaluation.budget import chain, missing, spent, total
from mora.files import write_json, write_lines

NOTHING = dict.fromkeys(("generated_tokens", "trained_tokens", "forward_passes", "seconds", "peak_memory_gib"))


def row(step: int, generated: float, trained: float, passes: float, peak: float, seconds: float) -> dict[str, float]:
    counts = {"spent/generated_tokens": generated, "spent/trained_tokens": trained, "spent/forward_passes": passes}
    return {"step": step, "loss": 0.5} | counts | {"memory/peak": peak, "time/step": seconds}


def run(root: Path, name: str, rows: list[dict], **upstream: object) -> Path:
    (root / name).mkdir()
    write_lines(root / name / "metrics.jsonl", rows)
    write_json(root / name / "identity.json", {"seed": 0} | ({"upstream": upstream} if upstream else {}))
    return root / name


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """Panacea on a reward model and a policy, which the reward model stands on, too."""
    return {
        "sft": run(tmp_path, "sft", [row(1, 0, 100, 8, 1.5, 0.25), row(2, 0, 110, 8, 1.75, 0.5)]),
        "reward": run(tmp_path, "reward", [row(1, 40, 200, 48, 3.0, 2.0)], policy="sft"),
        "panacea": run(tmp_path, "panacea", [row(1, 64, 300, 24, 2.0, 4.0)], policy="sft", reward="reward"),
    }


def test_what_a_run_stands_on_and_is_not_there_is_told(runs, tmp_path):
    assert missing(runs["panacea"]) == []
    lost = run(tmp_path, "lost", [row(1, 1, 1, 1, 1.0, 1.0)], policy="gone", reward={"model.safetensors": "hash"})
    assert missing(lost) == ["gone", "{'model.safetensors': 'hash'}"]
    above = run(tmp_path, "above", [row(1, 1, 1, 1, 1.0, 1.0)], reward="lost")
    assert "gone" in missing(above)


def test_rows_are_summed_and_memory_is_the_largest(runs):
    expected = {"generated_tokens": 0, "trained_tokens": 210, "forward_passes": 16}
    assert spent(runs["sft"]) == expected | {"seconds": 0.75, "peak_memory_gib": 1.75}


def test_what_was_not_logged_in_every_row_is_not_known(runs, tmp_path):
    older = [{"step": 1, "loss": 0.5, "time/step": 1.0}, row(2, 7, 7, 7, 1.0, 2.0)]  # continued by a newer version
    write_lines(runs["sft"] / "metrics.jsonl", older)
    assert spent(runs["sft"]) == NOTHING | {"seconds": 3.0}
    write_lines(runs["sft"] / "metrics.jsonl", [row(1, 1, 1, 1, float("nan"), 1.0)])  # stored as null
    found = spent(runs["sft"])
    assert found["peak_memory_gib"] is None and found["seconds"] == 1.0
    write_lines(runs["sft"] / "metrics.jsonl", [])
    assert spent(runs["sft"]) == NOTHING
    assert spent(tmp_path / "gone") == NOTHING


def test_a_chain_names_each_run_once_and_the_run_itself_last(runs, tmp_path):
    assert chain(runs["panacea"]) == [runs["sft"], runs["reward"], runs["panacea"]]
    assert chain(runs["sft"]) == [runs["sft"]]
    write_json(runs["panacea"] / "identity.json", {"upstream": {"reward": "reward", "policy": "sft"}})
    assert chain(runs["panacea"]) == [runs["sft"], runs["reward"], runs["panacea"]]  # whatever is named first
    with pytest.raises(InputError, match=r"gone/identity\.json does not exist"):
        chain(tmp_path / "gone")


def test_names_that_are_no_run_are_left_out(runs, tmp_path):
    (tmp_path / "folder").mkdir()  # beside the runs, but none
    named = {"policy": "Some/Model-0.5B", "reward": {"model.safetensors": "12ab"}, "other": "folder", "more": "deleted"}
    write_json(runs["panacea"] / "identity.json", {"upstream": named})
    assert chain(runs["panacea"]) == [runs["panacea"]]


def test_a_chain_together(runs):
    expected = {"generated_tokens": 104, "trained_tokens": 710, "forward_passes": 88}
    assert total(chain(runs["panacea"])) == expected | {"seconds": 6.75, "peak_memory_gib": 3.0}


def test_one_run_that_does_not_say_leaves_the_sum_unknown(runs):
    rows = [{k: v for k, v in row(1, 1, 1, 1, 1.0, 1.0).items() if k not in ("spent/trained_tokens", "memory/peak")}]
    write_lines(runs["reward"] / "metrics.jsonl", rows)
    found = total(chain(runs["panacea"]))
    assert found["trained_tokens"] is None and found["peak_memory_gib"] is None
    assert (found["generated_tokens"], found["seconds"]) == (65, 5.75)
