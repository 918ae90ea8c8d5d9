"""Faults in what lies between the files of a user and the batches of training."""

from __future__ import annotations

from tests.mutation.fault import Fault

FAULTS = (
    Fault(
        name="unlabelled_pairs_read_as_label_0",
        file="dataset/collate.py",
        old="labelled=torch.tensor([[label is not None for label in of] for of in known]",
        new="labelled=torch.tensor([[True for label in of] for of in known]",
        why="Every pair without a label teaches that its first answer is the better one.",
        caught_by=("tests/dataset/test_collate.py::test_a_batch_of_pairs_is_all_first_answers_then_all_second_ones",),
    ),
    Fault(
        name="same_order_in_every_epoch",
        file="dataset/order.py",
        old="rows, _keys(seed, epochs))",
        new="rows, _keys(seed, np.zeros_like(epochs)))",
        why="Rows meet the same neighbors in every epoch.",
        caught_by=("tests/dataset/test_order.py::test_epochs_and_seeds_differ",),
    ),
    Fault(
        name="rows_skipped_at_the_end_of_an_epoch",
        file="dataset/order.py",
        old="return _piece(step * batch_size, batch_size, rows, seed)",
        new="return _piece(step // max(rows // batch_size, 1) * rows + step % max(rows // batch_size, 1) * batch_size, "
        "batch_size, rows, seed)",
        why="Rows that do not fill a batch are left out of every epoch.",
        caught_by=("tests/dataset/test_order.py::test_each_epoch_reads_every_row_once",),
    ),
    Fault(
        name="windows_across_the_border_of_an_epoch",
        file="dataset/order.py",
        old="count = min(start + window, last) - start",
        new="count = window",
        why="A run of whole epochs leaves rows out and reads others twice.",
        caught_by=("tests/dataset/test_order.py::test_grouped_batches_read_every_row_once_in_each_epoch",),
    ),
)
