"""Files of rows: which are meant, on which side they are, and what their cells stand for."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="split_known_before_the_first_dot",
        file="dataset/place.py",
        old='reversed(stem(name).split("/"))',
        new='reversed(name.split(".")[0].split("/"))',
        why="The test file that task=split writes, rows.test.jsonl, is trained on.",
        caught_by=("tests/dataset/test_place.py::test_the_parts_that_a_split_writes_are_read_as_what_they_are",),
    ),
    Fault(
        name="brackets_always_a_pattern",
        file="dataset/paths.py",
        old="    if os.path.lexists(place / part):\n",
        new="    if os.path.lexists(place / part) and not glob.has_magic(part):\n",
        why="Files in a folder such as v[1] are not found behind a pattern, and belong to no identity.",
        caught_by=("tests/dataset/test_forms_of_files.py::test_a_path_means_the_same_files_to_all",),
    ),
    Fault(
        name="names_of_files_outside_the_identity",
        file="dataset/pinned.py",
        old='name = "" if found.single else json.dumps(found.name(file))',
        new='name = ""',
        why="A file renamed from valid to test is not read again: what it held out stays what it was.",
        caught_by=(
            "tests/dataset/test_forms_of_files.py::test_what_a_file_of_a_folder_is_called_is_part_of_the_identity",
        ),
    ),
    Fault(
        name="cells_are_texts",
        file="dataset/cells.py",
        old="return value.value if isinstance(value, Cell) else value",
        new="return value",
        why="Every label, strength and rating of a CSV file makes its row bad.",
        caught_by=("tests/dataset/test_forms_of_files.py::test_numbers_in_cells_are_numbers",),
    ),
    Fault(
        name="folder_read_whole",
        file="dataset/place.py",
        old="train=[name for name in files if sides[name] == named],",
        new="train=[*files],",
        why="The files of the test set in a local folder are trained on.",
        caught_by=("tests/dataset/test_place.py::test_files_named_after_the_test_split_are_the_test_set",),
    ),
)
