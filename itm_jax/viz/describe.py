"""What a model sees in a pair, in numbers and sentences: for pictures, and for readers who cannot see them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from itm_jax.viz.explain import Matching, Shares


class PairTable(NamedTuple):
    """The numbers of a pair: a row for each word, as text."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


def pair_table(seen: Matching | Shares) -> PairTable:
    """Returns for each word the region that it took, and its numbers."""
    of_word = enumerate(zip(seen.words, seen.region_of_word, strict=True))
    if isinstance(seen, Shares):
        whole = np.nansum(seen.shares, axis=0)
        with_region = [
            (w, str(r), f"{whole[k]:.3f}", f"{seen.shares[r, k]:.3f}") if r >= 0 else (w, "none", f"{whole[k]:.3f}", "")
            for k, (w, r) in of_word
        ]
        return PairTable(("word", "region", "of word", "of pair"), [tuple(row) for row in with_region])
    rows = [(w, str(r), f"{seen.cosines[r, k]:.2f}") for k, (w, r) in of_word]
    if seen.prominence is None:
        return PairTable(("word", "region", "cosine"), [tuple(row) for row in rows])
    weighted = [(*row, f"{weight:.3f}") for row, weight in zip(rows, seen.prominence, strict=True)]
    return PairTable(("word", "region", "cosine", "weight"), [tuple(row) for row in weighted])


def explanations(every: Sequence[Matching | Shares]) -> list[str]:
    """Returns a sentence for each kind of number in the pictures, and says where a fusion has almost no effect."""
    if not every:
        return []
    first = every[0]
    if isinstance(first, Shares):
        out = [
            "In each dimension AFA keeps the largest value over the regions and the largest value over the words. The "
            "score is the sum of the products of the two. of word: the share of the score from the dimensions where "
            "this word has the largest value. of pair: the share from the dimensions where the region in the red box "
            "has the largest value too. No other region has a larger share with this word.",
            "The colours on the left show the share of the score from the dimensions where a region has the largest "
            "value. A word without a red box has the largest value in no dimension that raises the score.",
        ]
        if any(isinstance(seen, Shares) and seen.merged_regions for seen in every):
            out.append("Boxes that are named merged are regions that AFA merged, because they are alike.")
        else:
            out.append("AFA merged no regions here.")
        pieces = [
            f"{seen.words[a]} into {seen.words[b]} ({cosine:.2f})"
            for seen in every
            if isinstance(seen, Shares)
            for a, b, cosine in seen.merged_pieces
        ]
        return [*out, f"Merged words, with their cosines: {', '.join(pieces[:20])}."] if pieces else out
    matchings = [seen for seen in every if isinstance(seen, Matching)]
    out = ["cosine: the similarity of the word and the region in the red box; no other region is more similar."]
    if first.prominence is not None:
        out.append("weight: how much the word counts in the score; all weights of a caption add up to 1.")
    if any(seen.has_open_gate for seen in matchings):
        out.append("gate: how much of its word a region takes up, from 0 to 1; colours on the left compare the gates.")
    elif first.gate is not None:
        largest = max(float(np.max(seen.gate)) for seen in matchings if seen.gate is not None)
        out.append(
            f"The gates are not shown: the largest of them is {largest:.4f}, so the fusion has almost no effect."
        )
    return out
