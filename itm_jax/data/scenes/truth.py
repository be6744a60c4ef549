"""Says whether a caption of `scenes` is true of an image. Twins share about half of their captions."""

import functools
import itertools
import re

from itm_jax.data.scenes.captions import BACKGROUNDS, COLOURS, COUNTS, RELATIONS, SHAPES, SIZES
from itm_jax.data.scenes.world import World

GROUPS = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "background": BACKGROUNDS}
# Each word of the grammar: the attribute that it is about, and the attribute's value.
MEANING = {w: (kind, k) for kind, names in GROUPS.items() for k, group in enumerate(names) for w in group if w}
RELATION = {" ".join(form): name for name, forms in RELATIONS.items() for form in forms}


def is_true(caption: str, world: World, image: int) -> bool:
    """Returns whether some choice of objects makes a caption true of an image; False for what is no caption of ours."""
    parts = parse(caption)
    if parts is None:
        return False
    if "g" in parts and MEANING[parts["g"]] != ("background", world.background[image]):
        return False
    if "n" in parts and parts["n"] != COUNTS[int(world.count[image])]:
        return False
    nouns = [name for name in "abc" if name in parts]
    for chosen in itertools.permutations(range(int(world.count[image])), len(nouns)):
        o = dict(zip(nouns, chosen, strict=True))
        if (
            all(_fits(parts[name], world, image, o[name]) for name in nouns)
            and ("r" not in parts or _holds(parts["r"], world, image, o["a"], o["b"]))
            and ("q" not in parts or _holds(parts["q"], world, image, o["c"], o["a"]))
        ):
            return True
    return False


def parse(caption: str) -> dict[str, str] | None:
    """Returns the parts of a caption by name; None where the grammar does not know it.

    a, b and c are objects, r is the relation of a to b and q that of c to a, g is the background, n the number of
    objects.
    """
    for form in _forms():
        if match := form.fullmatch(caption):
            return {name: text for name, text in match.groupdict().items() if text}
    return None


@functools.cache
def _forms() -> tuple[re.Pattern[str], ...]:
    kinds = {kind: _one_of(w for w, (k, _) in MEANING.items() if k == kind) for kind in GROUPS}
    noun = f"(?:an?|the) (?:(?:{kinds['size']}) )?(?:(?:{kinds['colour']}) )?(?:{kinds['shape']})"
    relation, ground = _one_of(RELATION), f"on the (?P<g>{kinds['background']})"
    return tuple(
        re.compile(form)
        for form in (
            f"(?P<a>{noun}) (?P<r>{relation}) (?P<b>{noun})",
            f"there is (?P<a>{noun}) (?P<r>{relation}) (?P<b>{noun}) {ground}",
            f"(?P<a>{noun}) and (?P<b>{noun}) {ground}",
            f"(?P<n>{_one_of(COUNTS.values())}) (?:shapes|things) {ground} , one of them (?P<a>{noun})",
            f"(?P<a>{noun}) is (?P<r>{relation}) (?P<b>{noun})(?: , with (?P<c>{noun}) (?P<q>{relation}) it)?",
        )
    )


def _one_of(words) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


def _fits(noun: str, world: World, image: int, o: int) -> bool:
    """Returns whether every word of a noun phrase is true of object o."""
    return all(getattr(world, kind)[image, o] == k for kind, k in (MEANING[word] for word in noun.split()[1:]))


def _holds(relation: str, world: World, image: int, o: int, other: int) -> bool:
    """Returns whether o is left of, right of, above or below other, more so than in the other axis."""
    dx, dy = (float(x) for x in world.centre[image, o] - world.centre[image, other])
    ahead, aside = {"left": (-dx, dy), "right": (dx, dy), "above": (-dy, dx), "below": (dy, dx)}[RELATION[relation]]
    return ahead > 0 and ahead >= abs(aside)
