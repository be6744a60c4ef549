"""Captions of `scenes`, from a small grammar with synonyms, attributes and relations, and their dependency edges."""

import numpy as np

SHAPES = (
    ("circle", "disc"),
    ("square", "box"),
    ("triangle", "wedge"),
    ("star", "asterisk"),
    ("cross", "plus"),
    ("ring", "hoop"),
    ("diamond", "rhombus"),
    ("heart", "valentine"),
    ("hexagon", "honeycomb"),
    ("crescent", "moon"),
    ("arrow", "pointer"),
    ("bar", "stick"),
)
COLOURS = (
    ("red", "scarlet"),
    ("green", "emerald"),
    ("blue", "azure"),
    ("yellow", "golden"),
    ("purple", "violet"),
    ("orange", "tangerine"),
    ("black", "dark"),
    ("white", "pale"),
)
SIZES = (("small", "tiny"), ("",), ("large", "big"))
BACKGROUNDS = (("grass", "lawn"), ("sand", "beach"), ("snow",), ("water", "sea"), ("wood", "timber"), ("brick", "wall"))
RELATIONS = {
    "left": (("left", "of"), ("to", "the", "left", "of"), ("beside", "and", "left", "of")),
    "right": (("right", "of"), ("to", "the", "right", "of"), ("beside", "and", "right", "of")),
    "above": (("above",), ("over",), ("higher", "than")),
    "below": (("below",), ("under",), ("lower", "than")),
}
COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
OTHER_WORDS = (
    "a",
    "an",
    "the",
    "and",
    "on",
    "is",
    "are",
    "there",
    "with",
    "shapes",
    "things",
    "one",
    "of",
    "them",
    "it",
    ",",
    ".",
)


class _Sentence:
    """A sentence that is being built: its words and its dependency edges (head, dependent)."""

    def __init__(self, draws: np.ndarray):
        self.words: list[str] = []
        self.edges: list[tuple[int, int]] = []
        self._draws = iter(draws)

    def draw(self) -> float:
        """Returns the next draw in [0, 1)."""
        return float(next(self._draws))

    def pick(self, options):
        """Returns one of the options, chosen by the next draw."""
        return options[int(self.draw() * len(options))]

    def add(self, *words: str) -> int:
        """Appends words; returns the index of the last one, which is the head of the others."""
        first = len(self.words)
        self.words.extend(words)
        last = len(self.words) - 1
        self.edges.extend((last, k) for k in range(first, last))
        return last

    def link(self, head: int, dependent: int) -> None:
        """Adds a dependency edge."""
        self.edges.append((head, dependent))

    def noun(self, world, image: int, o: int, article: str = "a") -> int:
        """Adds words such as `a large red circle`; returns the index of the noun."""
        size, colour = self.pick(SIZES[world.size[image, o]]), self.pick(COLOURS[world.colour[image, o]])
        shape = self.pick(SHAPES[world.shape[image, o]])
        adjectives = [size] if size and self.draw() < 0.7 else []
        adjectives += [colour] if self.draw() < 0.9 else []
        following = [*adjectives, shape]
        if article == "a" and following[0][0] in "aeiou":
            article = "an"
        return self.add(article, *following)

    def relation(self, world, image: int, a: int, b: int) -> int:
        """Adds words that say where object a is, seen from object b; returns the index of the last one."""
        dx, dy = world.centre[image, a] - world.centre[image, b]
        name = ("left" if dx < 0 else "right") if abs(dx) >= abs(dy) else ("above" if dy < 0 else "below")
        return self.add(*self.pick(RELATIONS[name]))

    def ground(self, world, image: int, head: int) -> None:
        """Adds words such as `on the grass`."""
        on = self.add("on")
        self.link(head, on)
        self.link(on, self.add("the", self.pick(BACKGROUNDS[world.background[image]])))


def _relates(s: _Sentence, world, image: int, a: int, b: int, article: str = "a") -> int:
    """Adds words such as `a red star above a blue bar`; returns the index of the first noun."""
    first = s.noun(world, image, a, article)
    if article == "the":
        s.link(first, s.add("is"))
    relation = s.relation(world, image, a, b)
    s.link(first, relation)
    s.link(relation, s.noun(world, image, b, article))
    return first


def _sentence(world, image: int, draws: np.ndarray) -> _Sentence:
    s = _Sentence(draws)
    count = int(world.count[image])
    order = sorted(
        range(count), key=lambda o: s.draw() - 0.25 * world.size[image, o]
    )  # large objects are named more often
    a, b = order[:2]
    form = int(s.draw() * 5)
    if form == 0:
        _relates(s, world, image, a, b)
    elif form == 1:
        first = s.noun(world, image, a)
        conjunct = s.add("and")
        s.link(first, conjunct)
        s.link(first, s.noun(world, image, b))
        s.ground(world, image, first)
    elif form == 2:
        verb = s.add("there", "is")
        first = _relates(s, world, image, a, b)
        s.link(verb, first)
        s.ground(world, image, verb)
    elif form == 3:
        shapes = s.add(COUNTS[count], s.pick(("shapes", "things")))
        s.ground(world, image, shapes)
        s.link(shapes, s.add(","))
        one = s.add("one", "of", "them")
        s.link(shapes, one)
        s.link(one, s.noun(world, image, a))
    else:
        first = _relates(s, world, image, a, b, "the")
        if count > 2:
            with_ = s.add(",", "with")
            s.link(first, with_)
            third = s.noun(world, image, order[2])
            s.link(with_, third)
            relation = s.relation(world, image, order[2], a)  # "it" is the sentence's subject
            s.link(third, relation)
            s.link(relation, s.add("it"))
    return s


def describe(world, draws: np.ndarray) -> tuple[list[str], list[list[tuple[int, int]]]]:
    """Returns the captions, and for each its dependency edges (head, dependent), indices of whitespace words.

    Args:
        world: a `world.World`.
        draws: [i, captions per image, 24] in [0, 1).
    """
    captions, edges = [], []
    for image in range(draws.shape[0]):
        for one in draws[image]:
            s = _sentence(world, image, one)
            captions.append(" ".join(s.words))
            edges.append(s.edges)
    return captions, edges


def vocabulary() -> list[str]:
    """Returns the lines of vocab.txt: special tokens, the words of the grammar, then letters for all other words."""
    words = {w for group in (SHAPES, COLOURS, SIZES, BACKGROUNDS) for names in group for w in names if w}
    words |= {w for forms in RELATIONS.values() for form in forms for w in form}
    words |= set(COUNTS.values()) | set(OTHER_WORDS)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(d) for d in range(10)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return (
        special + sorted(words) + [x for x in letters if x not in words] + [f"##{x}" for x in letters] + list("'-!?;:")
    )
