"""Draws pictures of `scenes` with NumPy alone: the objects of an image on its background. Models never see them."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from itm_jax.data.scenes.world import World

SUPERSAMPLE = 3  # samples per pixel and axis
OUTLINE = 0.07  # width of a shape's dark outline, in half boxes; it makes white visible on snow, and red on brick
# In the order of captions.COLOURS and captions.BACKGROUNDS.
COLOURS = np.array(
    [
        (214, 40, 40),  # red
        (30, 160, 70),  # green
        (40, 90, 220),  # blue
        (245, 210, 40),  # yellow
        (130, 50, 170),  # purple
        (245, 130, 20),  # orange
        (25, 25, 28),  # black
        (252, 252, 252),  # white
    ],
    np.float64,
)
GROUNDS = np.array(
    [
        (122, 158, 98),  # grass
        (219, 203, 165),  # sand
        (226, 232, 238),  # snow
        (116, 158, 184),  # water
        (168, 136, 104),  # wood
        (176, 118, 100),  # brick
    ],
    np.float64,
)
TEXTURE = 0.05  # the brightness of the background varies by this share

Plane = Float[np.ndarray, "..."]


def _star(u: Plane, v: Plane) -> Bool[np.ndarray, "..."]:
    """A star of five points: the plane is folded into the tenth of it between a tip and the notch beside the tip."""
    radius, sector = np.hypot(u, v), 2 * np.pi / 5
    angle = np.abs((np.arctan2(u, -v) + sector / 2) % sector - sector / 2)
    notch_x, notch_y = 0.42 * np.cos(sector / 2), 0.42 * np.sin(sector / 2)
    return (radius * np.cos(angle) - 1.0) * notch_y <= radius * np.sin(angle) * (notch_x - 1.0)


def _heart(u: Plane, v: Plane) -> Bool[np.ndarray, "..."]:
    """A heart: the inside of the sextic curve (x² + y² - 1)³ = x² y³."""
    x, y = 1.18 * u, 0.12 - 1.12 * v
    return (x**2 + y**2 - 1) ** 3 <= x**2 * y**3


def _arrow(u: Plane, v: Plane) -> Bool[np.ndarray, "..."]:
    """An arrow that points to the right."""
    shaft = (np.abs(u + 0.45) <= 0.5) & (np.abs(v) <= 0.28)
    return shaft | ((u >= 0.0) & (np.abs(v) <= 0.85 * (0.95 - u) / 0.95))


# Whether a point lies in the shape, in the order of captions.SHAPES. u runs right and v down, both -1..1 in the box.
INSIDE: tuple[Callable[[Plane, Plane], Bool[np.ndarray, "..."]], ...] = (
    lambda u, v: u**2 + v**2 <= 0.95**2,  # circle
    lambda u, v: np.maximum(np.abs(u), np.abs(v)) <= 0.85,  # square
    lambda u, v: (v <= 0.8) & (2 * np.abs(u) <= v + 0.95),  # triangle
    _star,
    lambda u, v: (np.minimum(np.abs(u), np.abs(v)) <= 0.3) & (np.maximum(np.abs(u), np.abs(v)) <= 0.92),  # cross
    lambda u, v: np.abs(np.hypot(u, v) - 0.75) <= 0.2,  # ring
    lambda u, v: np.abs(u) / 0.7 + np.abs(v) <= 0.97,  # diamond
    _heart,
    lambda u, v: np.maximum(np.abs(v), np.abs(v) / 2 + np.abs(u) * 0.866) <= 0.82,  # hexagon
    lambda u, v: (u**2 + v**2 <= 0.95**2) & ((u - 0.4) ** 2 + v**2 >= 0.72**2),  # crescent
    _arrow,
    lambda u, v: (np.abs(u) <= 0.97) & (np.abs(v) <= 0.27),  # bar
)


def _texture(background: int, x: Plane, y: Plane) -> Plane:
    """Returns the brightness of the background in [-1, 1]: blades, ripples, drifts, waves, grain or bricks."""
    wave = lambda a: np.sin(2 * np.pi * a)  # noqa: E731
    if background == 0:
        return wave(37 * x + 0.6 * wave(9 * y)) * wave(21 * y + 0.4 * wave(13 * x))
    if background == 1:
        return 0.6 * wave(30 * y + 6 * x + 0.3 * wave(5 * x))
    if background == 2:
        return 0.5 * wave(2 * x + 0.3 * wave(3 * y)) * wave(3 * y)
    if background == 3:
        return wave(14 * y + 0.35 * wave(4 * x))
    if background == 4:
        return 0.8 * wave(3 * y + 0.5 * wave(1.5 * x) + 0.25 * wave(11 * y))
    course = np.floor(y * 14)
    mortar = (y * 14 % 1 < 0.12) | ((x * 7 + 0.5 * (course % 2)) % 1 < 0.06)
    return np.where(mortar, 1.0, -0.2)


def render(world: World, image: int, size: int = 224) -> UInt8[np.ndarray, "size size 3"]:
    """Draws one image of a world.

    Args:
        world: the truth of a split.
        image: index of the image.
        size: width and height in pixels.

    Returns:
        An RGB picture. Objects fill their boxes, later ones lie on top, and edges are anti-aliased.
    """
    n = size * SUPERSAMPLE
    y, x = np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2, indexing="ij")
    background = int(world.background[image])
    picture = GROUNDS[background] * (1.0 + TEXTURE * _texture(background, x, y)[..., None])
    boxes = world.boxes[image]
    for o in range(int(world.count[image])):
        x1, y1, x2, y2 = boxes[o]
        in_box = (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
        u, v = 2 * (x[in_box] - x1) / (x2 - x1) - 1, 2 * (y[in_box] - y1) / (y2 - y1) - 1
        inside, colour = INSIDE[world.shape[image, o]], COLOURS[world.colour[image, o]]
        shape = inside(u, v)
        core = shape & inside(u - OUTLINE, v) & inside(u + OUTLINE, v) & inside(u, v - OUTLINE) & inside(u, v + OUTLINE)
        picture[in_box] = np.where(core[:, None], colour, np.where(shape[:, None], 0.55 * colour, picture[in_box]))
    smooth = picture.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean(axis=(1, 3))
    return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)
