"""What a model sees in a pair, in numbers and sentences: for pictures, and for readers who cannot see them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from itm_jax.viz.explain import CLOSED, Matching, Shares

ALIKE = 1.5  # gates of right pairs that are less than so many times those of wrong ones hardly tell the two apart
EVEN = 0.8  # a perplexity above this share of the regions means that they weigh nearly the same


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


def describe_mechanism(mechanism: Mapping[str, float]) -> tuple[list[tuple[str, str]], list[str]]:
    """Describes the numbers of `evaluation.mechanism`.

    Returns:
        (what, value) of each number, and a sentence for each part of the model that has no effect.
    """
    m, rows, notes = mechanism, [], []
    if "gate_right" in m:
        rows.append(("mean gate of a region, with the image's own caption", f"{m['gate_right']:.3g}"))
        if "gate_wrong" in m:
            rows.append(("mean gate of a region, with the caption of another image", f"{m['gate_wrong']:.3g}"))
        if m["gate_right"] < CLOSED:
            notes.append("The fusion has almost no effect: its gates are so small that regions take up almost nothing.")
        elif m["gate_right"] < ALIKE * m.get("gate_wrong", 0.0):
            notes.append("The gates hardly tell an image's own caption from that of another image.")
    if "region_perplexity" in m:
        rows.append(
            ("regions that share the weight (perplexity)", f"{m['region_perplexity']:.1f} of {m['regions']:.0f}")
        )
        if m["region_perplexity"] > EVEN * m["regions"]:
            notes.append("All regions have nearly the same weight.")
    if "prominence_content" in m:
        shares = " / ".join(f"{m[f'prominence_{kind}']:.0f}%" for kind in ("content", "function", "punctuation"))
        rows.append(("weight of content words, function words, punctuation", shares))
        rows.append(("content words among all words or word pieces", f"{m['pieces_content']:.0f}%"))
        if m["prominence_content"] < m["pieces_content"]:
            notes.append("Content words have less weight than their number alone would give them.")
    for name, item in (("regions", "an image"), ("pieces", "a caption")):
        if f"merged_{name}" in m:
            what = "word pieces" if name == "pieces" else name
            rows.append((f"{what} merged away in {item}", f"{m[f'merged_{name}']:.1f}"))
            if m[f"merged_{name}"] == 0:
                notes.append(f"The aggregation merges no {what}: the ratio is too small to merge even one of {item}.")
    return rows, notes


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
