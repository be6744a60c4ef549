"""Search in a gallery of images with a trained model: build an index once, then ask it.

    python -m itm_jax.search build --model=runs/mine --images=IMAGES --index=gallery
    python -m itm_jax.search query --index=gallery --text="two dogs play in the snow" --top=5
    python -m itm_jax.search query --index=gallery --image=a.jpg
    python -m itm_jax.search query --index=gallery --like=0012.jpg --filter="year >= 2020"
    python -m itm_jax.search query --index=gallery --queries=queries.txt --json
    python -m itm_jax.search query --index=gallery --queries=queries.txt --html=found.html
    python -m itm_jax.search add --index=gallery --images=MORE
    python -m itm_jax.search remove --index=gallery --ids=0012.jpg,0013.jpg
    python -m itm_jax.search report --index=gallery --data=DATA --split=test
    python -m itm_jax.search serve --index=gallery

The index is a LanceDB database (extra `search`): a folder, or an address in a bucket that LanceDB opens. It holds the
encodings of the images, thumbnails, and the columns of --metadata, a CSV file with the column id. An interrupted
`build` or `add` is continued by the same command. A model of one vector per image is searched exactly. For a model of
fragments LanceDB makes a shortlist, and the model scores it again; `report` says what the list loses. `serve` is a page
for this machine alone (extra `demo`), at http://127.0.0.1:7860.
"""

import pathlib
import signal
import sys
from typing import Any

from absl import flags

from itm_jax.cli import commands, values
from itm_jax.errors import InputError, TerminatedError
from itm_jax.terminal import say

WORDS = ("build", "add", "remove", "query", "report", "serve")
FLAGS = flags.FlagValues()
_INDEX = flags.DEFINE_string("index", None, "folder or address of the index", flag_values=FLAGS)
_MODEL = flags.DEFINE_string(
    "model", None, "run, exported folder or hub name; later: where the model of the index lies now", flag_values=FLAGS
)
_IMAGES = flags.DEFINE_string("images", None, "build, add: folder of images", flag_values=FLAGS)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "build, add: directory of a data set, in place of images; report: whose captions ask",
    flag_values=FLAGS,
)
_SPLIT = flags.DEFINE_string("split", "test", "build, add, report: split of --data", flag_values=FLAGS)
_ON_ERROR = flags.DEFINE_enum(
    "on_error",
    "stop",
    ["stop", "skip"],
    "build, add: an image file that cannot be used: stop, or leave it out",
    flag_values=FLAGS,
)
_THUMBNAILS = flags.DEFINE_integer(
    "thumbnails", 256, "build: longer side of a thumbnail in pixels; 0: none", lower_bound=0, flag_values=FLAGS
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float16", ["float16", "float32"], "build: type of the stored vectors", flag_values=FLAGS
)
_APPROXIMATE = flags.DEFINE_bool(
    "approximate",
    False,
    "build, add: build an approximate index too, and print how many of the nearest images it finds; query, serve: use "
    "it",
    flag_values=FLAGS,
)
_METADATA = flags.DEFINE_string("metadata", None, "build, add: CSV file with values for filters", flag_values=FLAGS)
_IDS = flags.DEFINE_list("ids", [], "remove: ids of images, with commas between them", flag_values=FLAGS)
_IDS_FROM = flags.DEFINE_string("ids_from", None, "remove: file with an id in each line", flag_values=FLAGS)
_TEXT = flags.DEFINE_string("text", None, "query: a caption", flag_values=FLAGS)
_IMAGE = flags.DEFINE_string("image", None, "query: an image file", flag_values=FLAGS)
_LIKE = flags.DEFINE_string("like", None, "query: the id of an image of the gallery", flag_values=FLAGS)
_QUERIES = flags.DEFINE_string("queries", None, "query, report: file with a caption in each line", flag_values=FLAGS)
_TOP = flags.DEFINE_integer("top", 10, "query: how many images", lower_bound=1, flag_values=FLAGS)
_FILTER = flags.DEFINE_string("filter", None, "query: condition in SQL on the columns of metadata", flag_values=FLAGS)
_SHORTLIST = flags.DEFINE_integer(
    "shortlist",
    200,
    "query, report, serve: images that a model of fragments scores again",
    lower_bound=1,
    flag_values=FLAGS,
)
_JSON = flags.DEFINE_bool(
    "json", False, "query: print a JSON object for each question; report: print one JSON object", flag_values=FLAGS
)
_HTML = flags.DEFINE_string(
    "html", None, "query: write the answers to this page, with the regions and words that decided", flag_values=FLAGS
)
_LENGTHS = flags.DEFINE_list(
    "lengths", ["10", "20", "50", "100", "200", "500"], "report: lengths of the shortlist", flag_values=FLAGS
)
_PORT = flags.DEFINE_integer(
    "port", 7860, "serve: port on 127.0.0.1; 0 takes a free one", lower_bound=0, upper_bound=65535, flag_values=FLAGS
)

_BACKBONE = flags.DEFINE_string(
    "backbone", None, "where the backbone of the model's extractor lies now, KIND:DIR", flag_values=FLAGS
)
READ_BY = {
    **dict.fromkeys(("images", "on_error", "metadata"), ("build", "add")),
    **dict.fromkeys(("data", "split"), ("build", "add", "report")),
    **dict.fromkeys(("thumbnails", "dtype"), ("build",)),
    **dict.fromkeys(("text", "image", "like", "top", "filter", "html"), ("query",)),
    **dict.fromkeys(("queries", "json"), ("query", "report")),
    "shortlist": ("query", "report", "serve"),
    "approximate": ("build", "add", "query", "serve"),
    **dict.fromkeys(("model", "backbone"), ("build", "add", "query", "report", "serve")),
    **dict.fromkeys(("ids", "ids_from"), ("remove",)),
    "lengths": ("report",),
    "port": ("serve",),
}


def main(word: str) -> None:
    """Flags -> one change of an index, the answers to questions, a report, or the page."""
    values.only_for(FLAGS, word, READ_BY)
    signal.signal(signal.SIGTERM, _terminate)
    place = commands.required(_INDEX, "DIR", "the index")
    if word == "query":
        from itm_jax.search.query import Questions, answer_questions

        questions = Questions(_TEXT.value, _IMAGE.value, _LIKE.value, _local("queries", _QUERIES.value))
        how = {"top": _TOP.value, "where": _FILTER.value, "shortlist": _SHORTLIST.value}
        how |= {"approximate": _APPROXIMATE.value}
        return answer_questions(
            lambda: _open(place), questions, how, as_json=_JSON.value, html=_local("html", _HTML.value)
        )
    if word == "report":
        from itm_jax.search.report import report

        if _QUERIES.value and (FLAGS["split"].present or FLAGS["shortlist"].present):
            raise InputError("--split, --shortlist: have no effect with --queries; leave them out")
        lengths = values.whole_numbers("lengths", _LENGTHS.value)
        data = str(commands.directory("data", _DATA.value)) if _DATA.value else None
        split = _SPLIT.value
        queries = _local("queries", _QUERIES.value)
        return report(lambda: _open(place), queries, data, split, lengths, _SHORTLIST.value, as_json=_JSON.value)
    if word == "serve":
        from itm_jax.search.serve import serve

        return serve(lambda: _open(place), _PORT.value, shortlist=_SHORTLIST.value, approximate=_APPROXIMATE.value)
    if word == "remove":
        from itm_jax.hub.gallery import lines_of
        from itm_jax.search.build import remove

        if bool(_IDS.value) == bool(_IDS_FROM.value):
            raise InputError("--ids, --ids_from: pass one of them, the ids of the images to remove")
        ids = _IDS.value or lines_of(commands.file("ids_from", _IDS_FROM.value or ""), "an id")
        return say(f"removed: {remove(place, ids):,} images")
    from itm_jax.search.build import add, build
    from itm_jax.search.index import load_model
    from itm_jax.search.metadata import read_metadata
    from itm_jax.search.table import count_of, open_table

    if FLAGS["split"].present and not _DATA.value:
        raise InputError("--split: has an effect with --data alone; leave it out")
    if word == "add" and _APPROXIMATE.value and not (_IMAGES.value or _DATA.value):  # for what the index holds
        if _METADATA.value or FLAGS["on_error"].present:
            raise InputError("--metadata, --on_error: have no effect without --images or --data; leave them out")
        return _approximate(place, load_model(open_table(place)[1], _MODEL.value, _BACKBONE.value))
    source = _source()
    types = open_table(place)[1].metadata if word == "add" else None
    metadata = read_metadata(commands.file("metadata", _METADATA.value), types) if _METADATA.value else None
    if word == "build":
        model = _load(commands.required(_MODEL, "DIR", "the model"))
        added = build(
            model, _gallery(model, source), place, thumbnails=_THUMBNAILS.value, dtype=_DTYPE.value, metadata=metadata
        )
    else:
        model = load_model(open_table(place)[1], _MODEL.value, _BACKBONE.value)
        added = add(model, _gallery(model, source), place, metadata=metadata)
    say(f"{place}: {added:,} images added, {count_of(open_table(place)[0], place):,} in all")
    if _APPROXIMATE.value:
        _approximate(place, model)


def _approximate(place: str, model: Any) -> None:
    from itm_jax.search.recall import build_measured

    build_measured(place, model)


def _load(name: str) -> Any:
    from itm_jax.hub.load import load

    return load(name, backbone=_BACKBONE.value)


def _local(name: str, value: str | None) -> str | None:
    """Returns the value of a flag that names a local file, if it is set."""
    return str(commands.file(name, value)) if value else None


def _source() -> pathlib.Path:
    """Returns the local path of what the gallery holds; wrong flags are found before a model is loaded."""
    if bool(_IMAGES.value) == bool(_DATA.value):
        raise InputError("--images, --data: pass one of them, what the gallery holds")
    if FLAGS["on_error"].present and not _IMAGES.value:
        raise InputError("--on_error: has an effect with --images alone; leave it out")
    if _IMAGES.value:
        return commands.directory("images", _IMAGES.value)
    return commands.directory("data", _DATA.value or "")


def _gallery(model: Any, source: pathlib.Path) -> Any:
    from itm_jax.hub import gallery

    if _IMAGES.value:
        return gallery.of_images(model, source, skip=_ON_ERROR.value == "skip")
    return gallery.of_data(model, source, _SPLIT.value)


def _open(place: str) -> Any:
    from itm_jax.search.index import open_index

    return open_index(place, _MODEL.value, backbone=_BACKBONE.value)


def _terminate(*_: Any) -> None:
    raise TerminatedError("stopped by SIGTERM; what was written stays, the same command continues")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
