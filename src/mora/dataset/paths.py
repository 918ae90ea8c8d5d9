"""Which files a path of a user means: one answer for whoever reads them, splits them, hashes them or keeps them safe.

A path that exists is that file or folder, whatever characters it holds.  Only where it does not is it a pattern
(``*``, ``?``, ``[..]``, ``**``), part by part: in ``v[1]/*.jsonl`` the first part is a folder if there is one of that
name.  ``~`` is the home folder.  A folder, named or matched, means the files below it that have a known format, less
hidden ones and the notes of the library ``datasets``; so does a pattern match no hidden file, and a note only by its
whole name.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mora.errors import InputError

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
PACKED = (".gz", ".xz", ".bz2", ".zst")
ELSE = (".arrow", ".feather", ".zip", ".7z", ".lz4", ".tar", ".tgz")  # what else holds rows, and is not read
NOTES = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
)  # of the library datasets: no rows
PLACEHOLDER = "{subset}"  # in a path: where the name of a subset stands
KNOWN = f"known: {', '.join(FORMATS)}, also with {', '.join(PACKED)}"


@dataclass(frozen=True, kw_only=True)
class MatchedFiles:
    """The files that a path means, sorted, and the folder from which their names tell them apart.

    ``single``: the path is a file; ``folder``: a folder.  ``unread``: files below a folder that hold rows in a format
    that is not read, links to folders with rows, which are not followed, and links to what is not there.
    """

    root: Path
    files: tuple[Path, ...]
    single: bool = False
    folder: bool = False
    unread: tuple[Path, ...] = ()

    def name(self, file: Path) -> str:
        """The name of one of the files from ``root`` on, with ``/`` between its parts."""
        return file.relative_to(self.root).as_posix()


def match_files(path: str) -> MatchedFiles:
    """The files that ``path`` means; none where there is none."""
    place = Path(os.path.expanduser(path))
    if place.is_file():
        return MatchedFiles(root=place.parent, files=(place,), single=True)
    root, places = (place, [place]) if place.is_dir() else _matched(place)
    found = {one for one in places if one.is_file() and (one.name not in NOTES or one.name == place.name)}
    unread = {one for one in places if _dangling(one)}
    for folder in (one for one in places if one.is_dir()):
        for file in _below(folder):
            if file.is_file() and file_format(file) in FORMATS:
                found.add(file)
            elif not file.is_file() or _holds_rows(file):
                unread.add(file)
    return MatchedFiles(root=root, files=tuple(sorted(found)), folder=place.is_dir(), unread=tuple(sorted(unread)))


def of_subset(path: str, subset: str | None, subsets: Sequence[str] | None) -> str:
    """The path of one of the ``subsets`` of ``path``, whether it is there or not.

    A subset stands in the path as ``{subset}``, else it is the folder of its name; a single one may be given as its
    files.  Without subsets (None) a path is what it is.
    """
    if subset is None:
        return path
    if PLACEHOLDER in path:
        return path.replace(PLACEHOLDER, subset)
    root = Path(os.path.expanduser(path))
    single = subsets is not None and [*subsets] == [subset]
    return path if single and not root.is_dir() else str(root / subset)


def files(path: str, key: str) -> list[Path]:
    """The files that ``path`` means, to be read.

    ``key`` is the configuration key that names the path.  Raises InputError where there is none, for one of an unknown
    format, and for what lies in a folder or matches and would be left out: rows in another format, links that lead out
    of it or to what is not there.
    """
    return list(readable(path, key).files)


def readable(path: str, key: str) -> MatchedFiles:
    """``match_files``, with the errors of ``files``."""
    found = match_files(path)
    for file in found.unread:
        raise InputError(f"{key}={path}: {_why(file)}")
    if not found.files:
        there = "holds no file of a known format" if found.folder else "no such file"
        raise InputError(f"{key}={path}: {there} ({KNOWN})")
    for file in found.files:
        if file_format(file) not in FORMATS:
            raise InputError(f"{key}: {_why(file) if _holds_rows(file) else f'{file}: unknown format ({KNOWN})'}")
    if not found.single:
        _refuse_links_out(found, key)
    return found


def file_format(file: Path) -> str:
    """The suffix that says how rows stand in a file, without that of a compression."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def stem(name: str) -> str:
    """A file's name without the suffixes of format and compression: ``v1.0/a.test`` of ``v1.0/a.test.csv.gz``."""
    for ends in (PACKED, FORMATS):
        end = next((end for end in ends if name.lower().endswith(end)), "")
        name = name[: len(name) - len(end)]
    return name


def _holds_rows(file: Path) -> bool:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return bool(suffixes) and suffixes[-1] in ELSE and (suffixes[-1] in ELSE[:2] or bool({*suffixes} & {*FORMATS}))


def _dangling(file: Path) -> bool:
    return file.is_symlink() and not file.exists()


def _why(file: Path) -> str:
    if _dangling(file):
        return f"{file} is a link to {os.readlink(file)}, which is not there; bring that back, or delete the link"
    if file.is_dir():
        return f"{file} is a link to the folder {file.resolve()}, which is not followed; name that folder, or copy it"
    if file.suffix.lower() in ELSE[:2]:
        return (
            f"{file} is a table of Arrow; write it as Parquet, for a folder of save_to_disk by: "
            "datasets.load_from_disk(FOLDER).to_parquet('rows.parquet'), of each split"
        )
    return f"{file} is packed in a way that is not read ({KNOWN}); unpack it"


def _matched(pattern: Path) -> tuple[Path, list[Path]]:
    """The deepest folder that all places which match a pattern lie in by their names, and these places."""
    root = Path(pattern.anchor)
    places = [root]
    for part in pattern.parts[1 if pattern.anchor else 0 :]:
        places = [found for place in places for found in ([place] if _dangling(place) else _children(place, part))]
        root = places[0] if places == [root / part] and places[0].is_dir() else root
    return root, places


def _children(place: Path, part: str) -> Iterator[Path]:
    if os.path.lexists(place / part):
        yield place / part
    elif not place.is_dir():
        return
    elif part == "**":
        for folder, below, _ in os.walk(place, onerror=_raise):
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield Path(folder)
    else:
        yield from (place / name for name in sorted(glob.glob(part, root_dir=place)))


def _below(folder: Path) -> Iterator[Path]:
    """The files below a folder that are not hidden, links to folders with some of a known format, dangling links."""
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            link = Path(parent, name)
            if link.is_symlink() and any(file_format(file) in FORMATS for file in _below(link) if file.is_file()):
                yield link
        named = (Path(parent, name) for name in names if not name.startswith(".") and name not in NOTES)
        yield from (file for file in named if file.is_file() or _dangling(file))


def _raise(error: OSError) -> None:
    raise error


def _refuse_links_out(found: MatchedFiles, key: str) -> None:
    """Raises InputError for a file of a folder that is a link to a file elsewhere: a folder may be a stranger's.

    In a snapshot of the hub's cache links lead to files of the same dataset.
    """
    root = found.root.resolve()
    for file in found.files:
        within = (root, *_cached(file.parent.resolve()))
        if file.is_symlink() and not any(file.resolve().is_relative_to(folder) for folder in within):
            raise InputError(
                f"{key}: {file} is a link out of {found.root}, to {file.resolve()}; name that file, or copy it"
            )


def _cached(folder: Path) -> Iterator[Path]:
    """The folder of a dataset in the hub's cache, of a folder in or below one of its snapshots."""
    for snapshot in (folder, *folder.parents):
        if snapshot.parent.name == "snapshots" and snapshot.parent.parent.name.startswith("datasets--"):
            yield snapshot.parent.parent


def shown(names: Sequence[str], most: int = 8) -> str:
    """Some of the names, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
