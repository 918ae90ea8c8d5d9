"""Train and test, split by prompt: all rows of a prompt are on one side, whatever else the source holds."""

from __future__ import annotations

from mora.types import content_id

_SPAN = float(1 << 63)


def in_test(prompt: str, test_share: float) -> bool:
    """Whether a prompt is a test prompt: a hash of its text below ``test_share``; other prompts have no say in it."""
    return content_id("test split", prompt) / _SPAN < test_share


def in_calibration(prompt: str, share: float) -> bool:
    """Whether a training prompt is kept for calibration: by another hash than that of the test prompts."""
    return content_id("calibration", prompt) / _SPAN < share
