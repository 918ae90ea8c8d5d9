"""The page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mora.errors import reading
from mora.records.front import Front
from mora.records.regret import Regret
from mora.report import sections
from mora.report.benchmark import benchmark_plates, benchmark_section
from mora.report.fronts import front_plates
from mora.report.page import Section, figures, write_page
from mora.report.regret import section as regret_section
from mora.report.regret_figures import regret_plates
from mora.report.rewards import reward_plates
from mora.report.safety import safety_plates, safety_section
from mora.report.steering import steering_plates
from mora.report.tables import AGAIN, Stage, read_front, read_regret, read_safety, read_samples, read_stage
from mora.report.training import quality_plate, training_plate


def write_report(folder: Path, stages: list[tuple[str, Path]]) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.{png,pdf}`` of the run in ``folder``; return the page's path.

    ``stages`` are the runs that led here, first to last, as (name, run folder), this run included or not; their
    metrics, reward tables and settings are shown too.  Every table is optional: a part without data is left out.
    Raises ``InputError`` when a table is there and cannot be read.
    """
    folder = Path(folder)
    named = [(name, Path(path)) for name, path in stages]
    if folder.resolve() not in [path.resolve() for _, path in named]:
        named.append((folder.name, folder))
    read = [read_stage(name, path) for name, path in named]
    front, regrets = read_front(folder / "tables" / "front.json"), read_regret(folder / "tables" / "regret.json")
    head = sections.head(front, read, folder.name, regrets=regrets)
    return write_page(folder, head, _sections(folder, front, regrets, read))


def _sections(folder: Path, front: Front | None, regrets: Sequence[Regret], stages: Sequence[Stage]) -> list[Section]:
    samples_path = folder / "tables" / "samples.jsonl"
    samples = read_samples(samples_path)
    judge = next((stage for stage in reversed(stages) if stage.reward or stage.quality), None)
    reward, measured = judge.reward if judge else None, front or next(iter(regrets), None)
    missed = [regret_plates(regret) for regret in regrets]
    safety = read_safety(folder / "tables" / "safety.json")
    tested = safety_plates(safety)
    objectives = measured.objectives if measured else _judged(judge)
    with reading(samples_path, "the answers of a front", AGAIN):
        answers = sections.samples(front, samples) if front else ""
        rewards = reward_plates(reward, front, samples)
    rewards += [plate for plate in [quality_plate(judge, objectives)] if plate]
    benchmark = next((stage.benchmark for stage in reversed(stages) if stage.benchmark), None)
    subsets = benchmark_plates(benchmark)
    curves = [plate for place, stage in enumerate(stages, 1) if (plate := training_plate(stage, objectives, place))]
    numbers = sections.numbers(front) if front else ""
    return [
        figures("front", "The front", "", front_plates(front) if front else []),
        figures("steering", "Steering", "Steering and its price", steering_plates(front) if front else []),
        Section(anchor="regret", title="Regret", heading="Regret to truth", body=regret_section(regrets, missed),
                plates=[plate for plates in missed for plate in plates]),
        Section(anchor="safety", title="Safety", heading="The safety test", plates=tested,
                body=safety_section(safety, tested)),
        Section(anchor="samples", title="Answers", heading="What it writes", body=answers),
        Section(anchor="numbers", title="Numbers", heading="The numbers", body=numbers),
        Section(anchor="reward", title="Reward", heading="The reward model", plates=rewards,
                body=sections.reward(reward, rewards, objectives)),
        Section(anchor="benchmark", title="Benchmark", heading="The benchmark", plates=subsets,
                body=benchmark_section(benchmark, subsets)),
        figures("training", "Training", "", curves),
        Section(anchor="settings", title="Settings", body=sections.settings(stages)),
    ]  # fmt: skip


def _judged(judge: Stage | None) -> tuple[str, ...]:
    """The objectives of a reward model, from its table or from what was measured while it was trained."""
    if judge is None:
        return ()
    return tuple(judge.reward.objectives if judge.reward else next(iter(judge.quality.values()), {}))
