"""What a mask says about a padded batch, whichever side the padding is on.  No token id is ever looked at."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor


def last_true(mask: Bool[Tensor, "B L"]) -> Int[Tensor, " B"]:
    """Index of the last True of each row.

    Only the mask decides: an end token that doubles as the padding token is still the last token of its row.
    Raises ValueError when a row has no True.
    """
    if not bool(mask.any(-1).all()):
        raise ValueError("a row of the mask has no True: an empty sequence has no last token")
    return mask.shape[-1] - 1 - mask.flip(-1).int().argmax(-1)


def position_ids(mask: Bool[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    """Position of each token in its own sequence: ``cumsum(mask) - 1``, 0 on padding before the first token.

    The same token gets the same position under left and right padding.
    """
    return (mask.long().cumsum(-1) - 1).clamp_min(0)


def pool_last(hidden: Float[Tensor, "B L H"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B H"]:
    """The hidden state at the last True of each row; no other is read.  Raises ValueError when a row has no True."""
    index = last_true(mask)[:, None, None].expand(-1, 1, hidden.shape[-1])
    return hidden.gather(1, index).squeeze(1)


def pool_mean(hidden: Float[Tensor, "B L H"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B H"]:
    """The mean in fp32 of the hidden states where the mask is True; no other is read.

    Raises ValueError when a row has no True.
    """
    if not bool(mask.any(-1).all()):
        raise ValueError("a row of the mask has no True: an empty sequence has no mean")
    return hidden.float().masked_fill(~mask[..., None], 0.0).sum(1) / mask.sum(1, keepdim=True)


def divergent_span(
    ids_0: Int[Tensor, "B L"], ids_1: Int[Tensor, "B L"], mask_0: Bool[Tensor, "B L"], mask_1: Bool[Tensor, "B L"]
) -> Bool[Tensor, "B L"]:
    """Positions of two right-padded sequences from the first token that differs to the last of the shorter one.

    A position past the end of one sequence is never compared with a token of the other.  A row is all False where the
    sequences are the same.
    """
    both = mask_0 & mask_1
    differs = ((ids_0 != ids_1) & both).int().cumsum(-1) > 0
    return differs & both


def mean_of_both(values: Float[Tensor, "2 B M R"], mask: Bool[Tensor, "2 B M R"]) -> Float[Tensor, "B M"]:
    """Mean over what the mask keeps of both answers of a pair, each value alike; 0 where it keeps nothing.

    What the mask leaves out is never read; a NaN that it keeps comes out as NaN.
    """
    kept = values.masked_fill(~mask, 0.0).sum(-1).sum(0)
    return kept / mask.sum(-1).sum(0).clamp_min(1)
