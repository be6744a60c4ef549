"""An index is built, changed and continued."""

import concurrent.futures
import dataclasses
import shutil
import threading

import numpy as np
import pytest
from support.commands import command
from support.search import SPLITS, TEXTS, ids_of

import itm_jax
from itm_jax.errors import InputError
from itm_jax.hub import gallery as galleries
from itm_jax.search import build as building
from itm_jax.search.build import add, build, remove


def test_images_are_added_and_removed(made, tmp_path):
    _, images, models, _ = made
    names = galleries.images_in(images)
    for folder, some in (("first", names[:6]), ("more", names[4:9])):
        (tmp_path / folder).mkdir()
        for name in some:
            shutil.copy(images / name, tmp_path / folder / name)
    model, place = models["afa"], str(tmp_path / "index")
    assert build(model, galleries.of_images(model, tmp_path / "first"), place, thumbnails=0) == 6
    assert add(model, galleries.of_images(model, tmp_path / "more"), place) == 3  # two were there
    index = itm_jax.search.open(place, model)
    assert sorted(ids_of(index.query("red", top=20))) == names[:9]
    assert index.query("red", top=1)[0].thumbnail is None
    assert remove(place, [names[2], names[7]]) == 2
    index = itm_jax.search.open(place, model)
    assert sorted(ids_of(index.query("red", top=20))) == [n for n in names[:9] if n not in (names[2], names[7])]
    with pytest.raises(InputError, match=rf"has no image {names[2]}; 1 of 2 ids are unknown"):
        remove(place, [names[0], names[2]])
    assert len(itm_jax.search.open(place, model)) == 7


def test_an_addition_leaves_the_files_of_others_alone(made, tmp_path):
    """Many small files are joined now and then, not at each addition."""
    _, images, models, _ = made
    model, place = models["afa"], tmp_path / "index"
    items = galleries.of_images(model, images)
    build(model, dataclasses.replace(items, ids=items.ids[:10]), str(place))
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.lance") if path.is_file()}
    add(model, dataclasses.replace(items, ids=items.ids[:12]), str(place))
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*.lance") if path.is_file()}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_a_killed_build_is_continued(made, tmp_path, monkeypatch):
    """The rows that were written stay; the same call writes the others, and the index opens in between."""
    _, images, models, places = made
    model, place = models["afa"], str(tmp_path / "index")
    monkeypatch.setattr(building, "IMAGES", 4)
    monkeypatch.setattr(galleries, "PART", 2)
    calls, as_table = [], building.as_table

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return as_table(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(building, "as_table", killed)
        with pytest.raises(KeyboardInterrupt):
            build(model, galleries.of_images(model, images), place, dtype="float32")
    assert len(itm_jax.search.open(place, model)) == 4
    assert build(model, galleries.of_images(model, images), place, dtype="float32") == sum(SPLITS.values()) - 4
    whole = itm_jax.search.open(places["afa"], model)
    for text in TEXTS:
        one, other = (index.query(text, top=5) for index in (itm_jax.search.open(place, model), whole))
        np.testing.assert_allclose([h.score for h in one], [h.score for h in other], atol=1e-6)
    assert build(model, galleries.of_images(model, images), place, dtype="float32") == 0


@pytest.mark.parametrize("damage", [0, 40], ids=["empty", "cut"])
def test_a_damaged_image_ends_a_build_or_is_left_out(made, tmp_path, damage):
    root, images, models, _ = made
    shutil.copytree(images, tmp_path / "images")
    names = galleries.images_in(images)
    (tmp_path / "images" / names[4]).write_bytes((images / names[4]).read_bytes()[:damage])
    flags = [f"--model={root / 'afa'}", f"--index={tmp_path / 'index'}"]
    build = lambda *more: command("build", *flags, *more, module="itm_jax.search.__main__")  # noqa: E731
    code, _, err = build(f"--images={tmp_path / 'images'}")
    assert code == 2
    assert names[4] in err[-1]
    assert "--on_error=skip leaves such images out" in err[-1]
    code, _, err = build(f"--images={tmp_path / 'images'}", "--on_error=skip")
    assert code == 0, err
    assert f"{len(names) - 1} images added, {len(names) - 1} in all" in err[-1]
    assert any(line.startswith("left out: ") and names[4] in line for line in err)
    assert itm_jax.search.open(tmp_path / "index", models["afa"]).ids() == set(names) - {names[4]}
    code, _, err = build(f"--data={root / 'out'}", "--on_error=skip")
    assert (code, "--on_error: has an effect with --images alone" in err[-1]) == (2, True)
    code, _, err = build(f"--images={tmp_path / 'images'}", "--split=dev")
    assert (code, "--split: has an effect with --data alone" in err[-1]) == (2, True)


def test_a_model_that_is_not_what_it_says_is_refused(made, tmp_path):
    """A model of one's own that keeps several vectors, and does not say so."""
    _, images, models, _ = made
    items = galleries.of_images(models["cpfean"], images)
    with pytest.raises(InputError, match=r"afa: keeps several vectors of an image; say so in its model_fields"):
        build(models["afa"], items, str(tmp_path / "index"))


def test_a_refused_build_leaves_nothing_behind(made, tmp_path):
    """The corrected command finds no settings of the refused one."""
    _, images, models, _ = made
    model, place = models["afa"], str(tmp_path / "index")
    items = galleries.of_images(model, images)
    with pytest.raises(InputError, match=r"no line in --metadata; 21 images have none"):
        build(model, items, place, metadata={"other": {"year": 1}})
    with pytest.raises(InputError, match=r"a\.png: two images with this id"):
        build(model, dataclasses.replace(items, ids=["a.png", "b.png", "a.png"]), place)
    assert build(model, items, place) == sum(SPLITS.values())


def test_ids_stay_unique_where_two_write_at_once(made, tmp_path):
    _, images, models, _ = made
    model, place = models["afa"], str(tmp_path / "index")
    items = galleries.of_images(model, images)
    encodings, boxes = items.encode(np.arange(len(items.ids)))
    ready = threading.Barrier(3)

    def encode(rows):
        ready.wait(60)  # all three write after this
        return encodings, boxes

    build(model, dataclasses.replace(items, ids=items.ids[:1]), place, thumbnails=0)
    remove(place, items.ids[:1])
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        adding = [pool.submit(add, model, dataclasses.replace(items, encode=encode), place) for _ in range(3)]
        [x.result() for x in adding]
    index = itm_jax.search.open(place, model)
    assert len(index) == len(index.ids()) == len(items.ids)


def test_an_open_index_sees_what_is_written_and_an_id_stays_unique(made, tmp_path, monkeypatch):
    """Also where two processes build the same index: the second finds an id that it did not know."""
    _, images, models, _ = made
    model, place = models["afa"], str(tmp_path / "index")
    items = galleries.of_images(model, images)
    first = dataclasses.replace(items, ids=items.ids[:6])
    build(model, first, place, thumbnails=0)
    index = itm_jax.search.open(place, model)
    assert len(index.query("red", top=30)) == 6
    with monkeypatch.context() as patch:
        patch.setattr(building, "ids_of", lambda table, place: set())
        assert build(model, items, place, thumbnails=0) == len(items.ids) - 6
    assert len(index) == sum(SPLITS.values())
    found = ids_of(index.query("red", top=30))
    assert sorted(found) == sorted(items.ids)
