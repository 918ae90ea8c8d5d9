"""The report of a run: one page that needs nothing else, and its figures as files for slides and papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mora.errors import reading
from mora.files import alone, new_folder, write_text
from mora.report import markup, sections
from mora.report.benchmark import benchmark_plates, benchmark_section
from mora.report.fronts_many import front_plates
from mora.report.regret import section as regret_section
from mora.report.regret_figures import regret_plates
from mora.report.rewards import reward_plates
from mora.report.steering import steering_plates
from mora.report.style import Plate, save_plate
from mora.report.tables import AGAIN, Front, Regret, Stage, read_front, read_regret, read_samples, read_stage
from mora.report.training import quality_plate, training_plate


def write_report(folder: Path, stages: list[tuple[str, Path]]) -> Path:
    """Write ``report/index.html`` and ``report/figures/*.{png,pdf}`` of the run in ``folder``; return the page's path.

    ``stages`` are the runs that led here, first to last, as (name, run folder), this run included or not; their
    metrics, reward tables and settings are shown too.  Every table is optional: a part without data is left out.  The
    same tables give the same bytes.  An earlier report is replaced as a whole.
    Raises ``InputError`` when a table is there and cannot be read.
    """
    folder = Path(folder)
    named = [(name, Path(path)) for name, path in stages]
    if folder.resolve() not in [path.resolve() for _, path in named]:
        named.append((folder.name, folder))
    read = [read_stage(name, path) for name, path in named]
    front, regrets = read_front(folder / "tables" / "front.json"), read_regret(folder / "tables" / "regret.json")
    with alone(folder / "report"), new_folder(folder / "report") as target:
        body, plates = _body(folder, front, regrets, read)
        for plate in plates:
            save_plate(plate, target / "figures")
        write_text(target / "index.html", markup.document(f"{folder.name} · mora report", body))
    return folder / "report" / "index.html"


def _body(
    folder: Path, front: Front | None, regrets: Sequence[Regret], stages: Sequence[Stage]
) -> tuple[str, list[Plate]]:
    samples_path = folder / "tables" / "samples.jsonl"
    samples = read_samples(samples_path)
    judge = next((stage for stage in reversed(stages) if stage.reward or stage.quality), None)
    reward, measured = judge.reward if judge else None, front or next(iter(regrets), None)
    fronts = front_plates(front) if front else []
    steering = steering_plates(front) if front else []
    missed = [regret_plates(regret) for regret in regrets]
    with reading(samples_path, "the answers of a front", AGAIN):
        answers = sections.samples(front, samples) if front else ""
    with reading(_table(judge, "reward.json"), "the table of a reward model", AGAIN):
        objectives = measured.objectives if measured else _judged(judge)
        rewards = reward_plates(reward, front, samples)
        rewards += [plate for plate in [quality_plate(judge, objectives)] if plate]
        of_reward = sections.reward(reward, rewards, objectives)
    tested = next((stage for stage in reversed(stages) if stage.benchmark), None)
    with reading(_table(tested, "sections.json"), "the table of a benchmark", AGAIN):
        benchmark = tested.benchmark if tested else None
        subsets = benchmark_plates(benchmark)
        of_benchmark = benchmark_section(benchmark, subsets)
    curves = [plate for place, stage in enumerate(stages, 1) if (plate := training_plate(stage, objectives, place))]
    parts = [
        ("front", "The front", sections.figures("front", "The front", fronts)),
        ("steering", "Steering", sections.figures("steering", "Steering and its price", steering)),
        ("regret", "Regret", regret_section(regrets, missed)),
        ("samples", "Answers", answers),
        ("numbers", "Numbers", sections.numbers(front) if front else ""),
        ("reward", "Reward", of_reward),
        ("benchmark", "Benchmark", of_benchmark),
        ("training", "Training", sections.figures("training", "Training", curves)),
        ("settings", "Settings", sections.settings(stages)),
    ]
    shown = [(anchor, title) for anchor, title, content in parts if content]
    head = sections.head(front, stages, folder.name, shown, regrets=regrets)
    plates = [*fronts, *steering, *(plate for plates in missed for plate in plates), *rewards, *subsets, *curves]
    return head + "\n".join(content for *_, content in parts if content), plates


def _table(stage: Stage | None, name: str) -> str:
    return str(stage.path / "tables" / name) if stage else name


def _judged(judge: Stage | None) -> tuple[str, ...]:
    """The objectives of a reward model, from its table or from what was measured while it was trained."""
    if judge is None:
        return ()
    return tuple(judge.reward["objectives"] if judge.reward else next(iter(judge.quality.values()), {}))
