"""A tiny training run as a program of its own: for launchers, kills and signals.  Prints the sha256 of the weights.

With ``--ranks`` it forks that many processes, which train together as under a launcher.
With ``--campaign`` it forks one child per durable operation (fsync, rename) of a whole run, kills the child there,
lets a second child continue, and compares its weights and metrics with those of the uninterrupted run.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch
from torch import nn

from mora.errors import InputError
from mora.files import write_json
from mora.runtime.engine import Engine, Runtime
from mora.runtime.folder import RunFolder
from mora.runtime.loop import Loop
from mora.runtime.memory import PeakMemory
from mora.runtime.track import NoTracker
from mora.runtime.usage import Usage

SETTINGS = {
    "device_type": "cpu",
    "precision": "fp32",
    "workers": 1,
    "micro_batch": None,
    "sample_batch": None,
    "save_every": 4,
    "keep_checkpoints": 2,
    "deterministic": True,
    "threads": 1,
    "fresh": False,
    "seed": 0,
    "timeout": 120,
    "timeout_step": 60,
    "deepspeed": {},
}
ROWS = 8


class Tiny(nn.Module):
    """Two trained layers, a frozen one between, and a parameter that no loss touches."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.first, self.frozen, self.second = nn.Linear(5, 16), nn.Linear(16, 16), nn.Linear(16, 1)
        self.unused = nn.Parameter(torch.ones(3))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        self.frozen.requires_grad_(False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.frozen(torch.tanh(self.first(rows))))).squeeze(-1)


def data(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    rows = torch.randn(ROWS, 5, generator=generator)
    return rows, rows.sum(-1).sin()


class Average:
    """Something with state of its own: a JSON number and a tensor."""

    def __init__(self) -> None:
        self.count, self.total = 0, torch.zeros(2, dtype=torch.float64)

    def state_dict(self):
        return {"count": self.count, "total": self.total}

    def load_state_dict(self, state):
        self.count, self.total = state["count"], state["total"]


def make_engine(runtime: Runtime, steps: int, clip: float = 1.0) -> Engine:
    model = Tiny()
    groups = [
        {"params": [*model.first.parameters(), model.unused], "lr": 0.02, "weight_decay": 0.1},
        {"params": list(model.second.parameters()), "lr": 0.05, "weight_decay": 0.0},
    ]
    return Engine(
        runtime,
        model,
        groups,
        betas=(0.9, 0.99),
        schedule="cosine",
        warmup=0.25,
        eps=1e-8,
        steps=steps,
        max_grad_norm=clip,
    )


def closures(runtime: Runtime, engine: Engine, step: int, micro: int):
    """Mean squared error over the global batch, as a sum over ranks and micro-batches; the module is called twice."""
    rows, targets = data(step)
    mine = runtime.share(torch.arange(ROWS))

    def loss(index):
        pair = engine.module(rows[index]), engine.module(-rows[index])
        return ((pair[0] - targets[index]) ** 2 + 0.1 * pair[1] ** 2).sum() / ROWS

    return [lambda index=index: loss(index) for index in mine.split(micro)]


def weights_hash(engine: Engine) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(engine.unwrapped.named_parameters()):
        digest.update(name.encode() + parameter.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def plant_kill(after: int) -> None:
    """Die without notice at the n-th durable operation of this process."""
    seen = 0

    def counted(original):
        def call(*arguments, **keywords):
            nonlocal seen
            seen += 1
            if seen == after:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)


def train(options: argparse.Namespace) -> None:
    limits = {"timeout_step": options.limit} if options.limit else {}
    runtime = Runtime(**SETTINGS | {"precision": options.precision} | limits)
    folder = RunFolder.open(
        options.root, "tiny", {"steps": options.steps}, config="a: 1\n", overrides="[]\n", diff="\n", runtime=runtime
    )
    with folder.lock():
        for stage in range(options.stages):
            if stage:
                folder.fresh()
            if folder.finished:
                print("already finished", flush=True)
                return
            engine = make_engine(runtime, options.steps, options.clip)
            average, usage = Average(), Usage()
            loop = Loop(
                folder,
                runtime,
                engine,
                total=options.steps,
                stateful={"average": average},
                tracker=NoTracker(),
                memory=PeakMemory(runtime.device),
            )
            noise = torch.zeros(())
            for step in loop.steps():
                if options.hang == runtime.rank and step == 2:
                    time.sleep(300)
                metrics = engine.step(closures(runtime, engine, step, options.micro))
                average.count += 1
                average.total += metrics["grad_norm"]
                noise = torch.rand(())  # draws of torch's own generator are the same after a resume, too
                usage.trained(runtime.share(data(step)[0] > 0))
                loop.log(usage.take(runtime))
                loop.log({"engine": metrics, "average": float(average.total[0]) / average.count, "noise": noise})
                if options.slow:
                    sys.stdout.write(f"step {step}\n")  # in one piece: the processes share the stream
                    sys.stdout.flush()
                    time.sleep(options.slow)
            final = {n: p.detach().cpu().tolist() for n, p in engine.unwrapped.named_parameters()}
            digest = weights_hash(engine)
            engine.close()
        if options.out and runtime.main:
            write_json(options.out, {"weights": final, "hash": digest, "world": runtime.world_size})
        folder.finish({"hash": digest})
    if runtime.main:
        print(json.dumps({"hash": digest}), flush=True)


def forked(options: argparse.Namespace, kill: int = 0) -> int:
    """Train in a child; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if kill:
                plant_kill(kill)
            train(options)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def together(options: argparse.Namespace) -> int:
    """Train in ``options.ranks`` children, each with what a launcher tells it; the largest of their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = {"WORLD_SIZE": options.ranks, "LOCAL_WORLD_SIZE": options.ranks, "MASTER_ADDR": "127.0.0.1"}
    children = []
    for rank in range(options.ranks):
        child = os.fork()
        if child == 0:
            code = 1
            os.environ |= {name: str(value) for name, value in told.items()}
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
            try:
                train(options)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


def warm_up() -> None:
    """Import here what the children would import one by one; no backward, which must not happen before a fork."""
    engine = make_engine(Runtime(**SETTINGS), steps=1)
    for parameter in engine.unwrapped.parameters():
        parameter.grad = torch.zeros_like(parameter)
    engine._backend.update()
    gc.freeze()


def outcome(root: Path) -> tuple:
    (run,) = [path for path in root.iterdir() if path.is_dir()]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [{key: value for key, value in row.items() if not key.startswith(("time/", "memory/"))} for row in rows]
    names = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    return json.loads((run / "status.json").read_text())["summary"]["hash"], rows, names


def campaign(options: argparse.Namespace) -> None:
    """Kill at every ``options.campaign``-th durable operation, until a child lives through all of them."""
    warm_up()
    root = options.root
    options.root = root / "whole"
    assert forked(options) == 0
    expected, cases, kill = outcome(options.root), 0, 1
    while True:
        options.root = root / f"killed-{kill}"
        code = forked(options, kill)
        if code == 0:
            break
        assert code == -signal.SIGKILL, (kill, code)
        assert forked(options) == 0, kill
        assert outcome(options.root) == expected, (kill, outcome(options.root), expected)
        cases, kill = cases + 1, kill + options.campaign
    print(json.dumps({"cases": cases, "operations": kill}), flush=True)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of a command line; of that of this process where none is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--campaign", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=0)
    parser.add_argument("root", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--micro", type=int, default=ROWS)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--kill", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--hang", type=int, default=-1, help="rank that never comes to its third update")
    parser.add_argument("--limit", type=float, default=0.0, help="runtime.timeout_step")
    parser.add_argument("--precision", default="fp32")
    return parser.parse_args(arguments)


def main() -> None:
    options = parsed()
    if options.kill and int(os.environ.get("RANK", "0")) == 0:
        plant_kill(options.kill)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    try:
        if options.ranks:
            os._exit(together(options))
        campaign(options) if options.campaign else train(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
