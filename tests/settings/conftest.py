"""A small configuration tree of its own, so that these tests say what the machinery does whatever conf/ holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

FILES = {
    "train.yaml": """
defaults:
  - _self_
  - hydra/mora
  - dataset: garden
  - objectives: ${dataset}
  - algo: ppo
  - scalarize: linear
  - model: small
  - experiment: null
  - sweep: null
  - override hydra/help: mora
  - override hydra/hydra_logging: none
  - override hydra/job_logging: none
seed: 0
start: {policy: auto, sft: []}
paths: {runs: runs}
plugins: []
""",
    "generate.yaml": """
defaults:
  - _self_
  - hydra/mora
  - override hydra/help: mora
  - override hydra/hydra_logging: none
  - override hydra/job_logging: none
run: ???
preference: null
prompt: null
temperature: 1.0
paths: {runs: runs}
""",
    "algo/ppo.yaml": "clip: 0.2\nlr: 1.0e-3\nsteps: 10\nschedule: linear\nlimit: null\n"
    "betas: [0.9, 0.95]\nwhiten: true\n"
    "advantage: {lam: 0.95, gamma: 1.0}\n",
    "algo/dpo.yaml": "beta: 0.1\nlr: 1.0e-4\n",
    "algo/panacea.yaml": "clip: 0.2\nrank: 8\n",
    "dataset/garden.yaml": "path: null\nmax_prompt: 16\n",
    "dataset/jsonl.yaml": "path: ???\nmax_prompt: 512\n",
    "objectives/garden.yaml": "names: [cure, care]\n",
    "objectives/jsonl.yaml": "names: [better]\n",
    "scalarize/linear.yaml": "_target_: mora.functional.scalarize.Linear\n",
    "scalarize/expected.yaml": "_target_: mora.functional.scalarize.TchebycheffExpected\nideal: 5.0\naugment: 0.0\n",
    "model/small.yaml": "width: 8\nkwargs: {}\n",
    "preference/row.yaml": "_target_: mora.functional.preference.Sampler\nunit: row\n"
    "vertex_probability: 0.3\nconcentration: 1.0\n",
    "experiment/quick.yaml": "# @package _global_\ndefaults:\n  - override /algo: dpo\nseed: 7\nalgo: {beta: 0.5}\n",
    "experiment/wrong.yaml": "# @package _global_\nsede: 7\nalgo: {clip: high}\n",
    "sweep/seeds.yaml": "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '1,2'}}}\n",
    "sweep/wrong.yaml": "# @package _global_\n"
    "hydra: {mode: MULTIRUN, sweeper: {params: {sede: '1,2', algo: 'ppo,dop'}}}\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The folder of a small configuration tree."""
    root = tmp_path / "conf"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copytree(REPOSITORY / "conf" / "hydra", root / "hydra")
    return root
