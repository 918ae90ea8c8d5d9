"""Running a command: mora's check first, then Hydra's machinery, then the task, with honest exit codes.

Exit codes: 0 done, 1 an unexpected failure (with its traceback), 2 what the user can correct: input, or what the
operating system refused, such as a full disk; 130 interrupted.  With HYDRA_FULL_ERROR=1 every error has its traceback.
"""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mora import terminal
from mora.errors import FAILED, INTERRUPTED, REFUSED, InputError, correctable, visible
from mora.files import check_writable, write_json, write_text
from mora.settings import home, hydra_section
from mora.settings.check import Verdict, check
from mora.settings.compose import finish
from mora.settings.declared import WRITTEN
from mora.settings.identity import slug, to_yaml
from mora.settings.overrides import named_on, prepare
from mora.settings.permitted import granted, granted_only
from mora.settings.resolvers import guarded
from mora.settings.secrets import masked, masked_text
from mora.settings.source import seen_by
from mora.settings.tree import VERSION_BASE, conf_dir, explain, kept, opened

Task = Callable[[DictConfig, list[str]], object]
FULL_ERROR = "HYDRA_FULL_ERROR"  # environment variable that asks for tracebacks
CONTINUES = {"train": "the same command goes on from the last state that was kept"}


def run(command: str, task: Task, argv: Sequence[str] | None = None) -> NoReturn:
    """Run ``task(config, overrides)`` for the command line, or for ``argv``, and leave with an exit code."""
    # Before torch is loaded: threads that spin while they wait are many times slower as soon as cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    terminal.opened()
    code = terminal.closed(launch(command, task, sys.argv[1:] if argv is None else argv))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End one of several processes without the interpreter's teardown.

    Threads of a process group may outlive the group; destroying them then aborts a process that has done its work.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def launch(command: str, task: Task, argv: Sequence[str], root: Path | str | None = None) -> int:
    """Like :func:`run`, but returns the exit code; ``root`` is another configuration tree."""
    arguments = get_args_parser().parse_intermixed_args(list(argv))
    arguments.config_dir = arguments.config_dir and home.expanded(arguments.config_dir)
    traced = os.environ.get(FULL_ERROR, "0") not in ("", "0")
    try:
        with guarded(), granted_only(named_on(arguments.overrides)), kept():
            ready = _checked(command, arguments, root)
            job = Job(task=task, traced=traced, plugins=granted())
            return _through_hydra(command, job, _arguments_for_hydra(arguments, ready), conf_dir(root))
    except (InputError, HydraException, OmegaConfBaseException) as error:
        told = f"error: {error if isinstance(error, InputError) else explain(error)}"
        _say(_traceback(error) + told if traced else told, everyone=False)
        return REFUSED
    except OSError as error:
        return _told(error, "", traced)
    except KeyboardInterrupt:
        hint = CONTINUES.get(command)
        _say("interrupted" + (f"; {hint}" if hint else ""), everyone=False)
        return INTERRUPTED


def _told(error: Exception, where: str, traced: bool) -> int:
    """Say what a command failed of, in one message where the user can mend it; the exit code."""
    problem = correctable(error)
    if problem is None:
        _say(where + _traceback(error))
        return FAILED
    _say(f"{_traceback(error) if traced else ''}error: {where}{problem}")
    return REFUSED


def _traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _say(message: str, *, everyone: bool = True) -> None:
    """Write to stderr; of several processes every one says its own, only the first what all of them found."""
    rank, message = os.environ.get("RANK", "0"), visible(masked_text(message))
    if rank == "0":
        print(message, file=sys.stderr, flush=True)
    elif everyone:
        print(f"[rank {rank}] {message}", file=sys.stderr, flush=True)


def _checked(command: str, arguments: argparse.Namespace, root: Path | str | None) -> list[str]:
    """The overrides for Hydra, after mora's check.  Raises InputError."""
    if arguments.config_name or arguments.config_path or arguments.experimental_rerun:
        raise InputError("mora's top files are fixed; --config-dir FOLDER adds a folder with groups of your own")
    if arguments.shell_completion:
        raise InputError("--shell-completion is not offered; --help lists the groups and their choices")
    if arguments.multirun and (arguments.cfg or arguments.info):
        raise InputError("-m runs several and --cfg (or --info) shows one: leave out one of them")
    shown_only = bool(arguments.help or arguments.hydra_help or arguments.cfg or arguments.info)
    ready = prepare(arguments.overrides, arguments.multirun)
    hydra_section.refuse_overrides(ready)
    with opened(command, root, [arguments.config_dir] if arguments.config_dir else []) as tree:
        verdict = check(tree, ready, multirun=arguments.multirun, complete=not shown_only)
        verdict.refuse(f"python -m mora.{command}")
        hydra_section.refuse_texts(tree)
        hydra_section.refuse_files(tree, ready)
    if not shown_only:
        _check_place(command, verdict)
    if verdict.multirun and not any(text.startswith("hydra.sweep.dir=") for text in ready):
        ready.append("hydra.sweep.dir=${paths.runs}/sweeps/" + slug(" ".join([command, *masked(arguments.overrides)])))
    return ready


def _check_place(command: str, verdict: Verdict) -> None:
    """Raise InputError where a run could not be started or nothing be written: before any run of a sweep begins."""
    if verdict.launcher.endswith("SlurmLauncher") and shutil.which("sbatch") is None:
        raise InputError(
            "hydra/launcher=submitit_slurm: there is no sbatch on PATH; start it where SLURM is, or leave it out"
        )
    for config in verdict.configs:
        for key in WRITTEN.get(command, ()):
            section, _, name = key.rpartition(".")
            path = (config[section] if section else config)[name]
            if path is not None:
                check_writable(home.expanded(path), key)


def _arguments_for_hydra(arguments: argparse.Namespace, overrides: list[str]) -> list[str]:
    """The command line again, in an order that Hydra's parser takes."""
    names = ("help", "hydra_help", "resolve", "run", "multirun", "shell_completion")
    flags = [f"--{name.replace('_', '-')}" for name in names if vars(arguments)[name]]
    named = {"--cfg": arguments.cfg, "--package": arguments.package, "--config-dir": arguments.config_dir}
    valued = [f"{name}={value}" for name, value in {**named, "--info": arguments.info}.items() if value is not None]
    return [*flags, *valued, *overrides]


@contextmanager
def _hydra_sees(argv: list[str]) -> Iterator[None]:
    """Hydra reads ``sys.argv``, and hides where an error came from unless its full errors are on."""
    saved_argv, saved_full = sys.argv, os.environ.get(FULL_ERROR)
    sys.argv, os.environ[FULL_ERROR] = [saved_argv[0], *argv], "1"
    try:
        yield
    finally:
        sys.argv = saved_argv
        if saved_full is None:
            os.environ.pop(FULL_ERROR, None)
        else:
            os.environ[FULL_ERROR] = saved_full


def _through_hydra(command: str, job: Job, argv: list[str], root: Path) -> int:
    with _hydra_sees(argv), seen_by(command):
        hydra.main(config_path=str(root), config_name=command, version_base=VERSION_BASE)(job)()
    return max((code for code in job.codes if code == FAILED), default=max(job.codes, default=0))


@dataclass
class Job:
    """What Hydra calls for one configuration.  A failure is recorded, so that the other cells of a sweep still run.

    An interruption ends the sweep.
    """

    task: Task
    traced: bool
    plugins: tuple[str, ...]  # packages that the command line names, for a process that a launcher starts
    home: tuple[str, int] = field(default_factory=lambda: (socket.gethostname(), os.getpid()))
    codes: list[int] = field(default_factory=list)

    def __call__(self, composed: DictConfig) -> Any:
        """Run the task.  In a process that a launcher started, a failure is raised and the launcher carries it home."""
        settings = HydraConfig.get()
        overrides = list(settings.overrides.task)
        cell = settings.mode == RunMode.MULTIRUN
        folder = Path(settings.runtime.output_dir) if cell else None
        try:
            if cell:
                _mask_record(Path(settings.sweep.dir) / "multirun.yaml")
            with guarded(), granted_only(self.plugins):
                result = self.task(finish(composed), overrides)
        except (KeyboardInterrupt, SystemExit):
            _record(folder, overrides, "stopped", None)
            raise
        except Exception as error:
            here = self.home == (socket.gethostname(), os.getpid())
            if here:
                self.codes.append(_told(error, f"[{' '.join(masked(overrides))}] " if cell else "", self.traced))
            _record(folder, overrides, "failed", str(error))
            if not here:
                raise
            return None
        _record(folder, overrides, "finished", None)
        return result


def _mask_record(path: Path) -> None:
    """Replace Hydra's record of a sweep, written before its first cell, by one without secrets."""
    if os.environ.get("RANK", "0") != "0" or not path.is_file():
        return
    record: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    write_text(path, to_yaml(record))


def _record(folder: Path | None, overrides: list[str], status: str, message: str | None) -> None:
    """Leave beside a sweep what became of the cell with this folder."""
    if folder is not None and os.environ.get("RANK", "0") == "0":
        cell = {"overrides": overrides, "status": status, "message": message and masked_text(message)}
        write_json(folder / "cell.json", masked(cell))
