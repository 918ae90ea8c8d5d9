"""``python -m mora.prepare``: turn files of rows into other files of rows, check them, or measure them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mora.errors import InputError, visible
from mora.settings.launch import run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mora.dataset.read import Record
    from mora.task.base import Task
    from mora.task.row_counts import RowCounts


def prepare(cfg: DictConfig, overrides: list[str]) -> None:
    """Carry out the task and say where every row went; all files are written, or none.

    Raises InputError for a bad row (on_bad_row=error), a path that cannot be written or is an input, and where nothing
    is left to write.
    """
    from mora.run.build import build
    from mora.settings.identity import plain
    from mora.task.base import ModelTask
    from mora.task.row_counts import RowCounts
    from mora.task.statistics import Statistics

    task, counts = build(plain(cfg.task)), RowCounts()
    if isinstance(task, ModelTask):
        if cfg.input is not None and not isinstance(cfg.input, str):
            raise InputError("input: this task takes one file; name one")
        print(visible(task.write(cfg.input, _folder(cfg))))
        return
    if cfg.input is None:
        raise InputError("input is needed (the file with the rows); for example: input=rows.jsonl")
    paths = _Paths(cfg, task)
    if isinstance(task, Statistics):
        _measure(task, paths, counts)
    else:
        _convert(task, paths, counts)
    if paths.summary is not None:
        from mora.files import write_json
        from mora.settings.secrets import masked, masked_values

        asked = masked({"input": paths.inputs, "task": plain(cfg.task)})
        write_json(paths.summary, masked_values(counts.as_json()) | asked)
    print(visible("\n".join([*paths.said(counts), *counts.lines()])))


class _Paths:
    """Where rows come from and go to.  Raises InputError for what cannot be written or would replace an input."""

    def __init__(self, cfg: DictConfig, task: Task) -> None:
        from mora.dataset.paths import files
        from mora.task.statistics import Statistics

        self.inputs = [cfg.input] if isinstance(cfg.input, str) else list(cfg.input)
        self.folder = isinstance(task, Statistics)
        self.on_bad_row = "quarantine" if task.goes_on else cfg.on_bad_row
        output = None if cfg.output is None else Path(cfg.output)
        if output is None and not task.goes_on:
            raise InputError("output is needed: the file to write; for example: output=prepared.jsonl")
        self.outputs = {part: _named(output, part) for part in task.parts()} if output is not None else {}
        self.quarantine = self._quarantine(cfg.quarantine, output)
        self.summary = None if cfg.summary is None else Path(cfg.summary)
        sources = [("input", path) for path in self.inputs] + [*task.read()]
        self._check({file.resolve() for key, path in sources for file in files(path, key)})

    def _quarantine(self, given: str | None, output: Path | None) -> Path | None:
        if self.on_bad_row == "error":
            if given is not None:
                raise InputError(f"quarantine={given} is for on_bad_row=quarantine; with error nothing is set aside")
            return None
        if given is not None:
            return Path(given)
        if output is None:
            raise InputError("quarantine is needed: the file for bad rows; for example: quarantine=bad.jsonl")
        if self.folder:
            return output.with_name(f"{output.name}.quarantine.jsonl")
        return _named(output, "quarantine", ".jsonl")

    def _check(self, sources: set[Path]) -> None:
        from mora.dataset.write import suffix

        named = [("output", path) for path in self.outputs.values()]
        named += [("quarantine", self.quarantine)] if self.quarantine is not None else []
        named += [("summary", self.summary)] if self.summary is not None else []
        taken: set[Path] = set()
        for key, path in named:
            if path.resolve() in sources:
                raise InputError(f"{key}={path} is an input; name another file, so that its rows are kept")
            if path.resolve() in taken:
                raise InputError(f"{key}={path}: two outputs have this name; name another file")
            taken.add(path.resolve())
            whole = self.folder and key == "output"
            if path.is_dir() and not whole:
                raise InputError(f"{key}={path} is a folder; name a file in it")
            if whole and path.exists() and not _replaceable(path):
                raise InputError(f"output={path} exists and holds no statistics; name another folder or delete it")
            if key != "summary" and not whole:
                suffix(path, key)

    def said(self, counts: RowCounts) -> Iterator[str]:
        """A line for each file that was written."""
        for part, path in self.outputs.items():
            yield f"{path}" if self.folder else f"{path}: {counts.rows_out[part]} rows"
        if self.quarantine is not None:
            yield f"{self.quarantine}: {len(counts.rejected)} bad rows, with place and reason"
        if self.summary is not None:
            yield f"{self.summary}: these counts"


def _folder(cfg: DictConfig) -> Path:
    """The new folder of a model.  Raises InputError for what means nothing there, and for one that exists."""
    if cfg.output is None:
        raise InputError("output is needed: the folder to write; for example: output=models/NAME")
    usual = {"quarantine": None, "summary": None, "on_bad_row": "error"}
    for key, value in usual.items():
        if cfg[key] != value:
            raise InputError(f"{key}={cfg[key]} is for tasks that read rows; leave it out")
    if Path(cfg.output).exists():
        raise InputError(f"output={cfg.output} exists; name another folder, or delete it")
    return Path(cfg.output)


def _named(output: Path, part: str, form: str | None = None) -> Path:
    """``rows.train.jsonl.gz`` of ``rows.jsonl.gz`` and the part ``train``; ``output`` itself of no part."""
    from mora.dataset.write import suffix

    if not part:
        return output
    end = suffix(output, "output")
    return output.with_name(f"{output.name.removesuffix(end)}.{part}{form or end}")


def _replaceable(folder: Path) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or (folder / "statistics.json").is_file())


def _records(inputs: list[str]) -> Iterator[Record]:
    from mora.dataset.read import records

    for path in inputs:
        yield from records(path, "input")


def _convert(task: Task, paths: _Paths, counts: RowCounts) -> None:
    from mora.dataset.write import writing

    with ExitStack() as stack:
        write = {part: stack.enter_context(writing(path, "output")) for part, path in paths.outputs.items()}
        for part, row in task.rows(_records(paths.inputs), counts):
            if write:
                write[part](row)
                counts.rows_out[part] += 1
        _finish(task, paths, counts, stack)


def _finish(task: Task, paths: _Paths, counts: RowCounts, stack: ExitStack) -> None:
    """The quarantine file, in the same breath as the rest.  Raises InputError where nothing may be written."""
    from mora.dataset.write import writing

    if not task.goes_on:
        counts.check("quarantine" if paths.on_bad_row == "quarantine" else "error")
        if not counts.rows_out.total() and not (paths.folder and counts.used):
            raise InputError("\n".join(["no row is left to write:", *counts.lines()]))
    if paths.quarantine is not None:  # also without a bad row: an older file must not look like this one's
        put = stack.enter_context(writing(paths.quarantine, "quarantine"))
        for bad in counts.rejected:
            put({"row": bad.raw, "where": bad.where, "kind": bad.kind, "reason": bad.reason})


def _measure(task: Any, paths: _Paths, counts: RowCounts) -> None:
    from mora.files import new_folder

    with ExitStack() as stack:
        folder = stack.enter_context(new_folder(paths.outputs[""]))
        task.write(_records(paths.inputs), counts, folder)
        _finish(task, paths, counts, stack)


def main() -> None:
    """The command line."""
    run("prepare", prepare)


if __name__ == "__main__":
    main()
