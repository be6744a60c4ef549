"""Convert other forms of a data set to and from ours, and add to it what it lacks.

    python -m itm_jax.convert tfds --precomp=DIR --out=OUT
    python -m itm_jax.convert tfds --precomp=DIR --out=OUT --splits=train,dev,test --name=f30k
    python -m itm_jax.convert dependencies --precomp=DIR
    python -m itm_jax.convert bottom_up --tsv=FILE,FILE --captions=dataset_coco.json --captions_per_image=5 --out=DIR
    python -m itm_jax.convert bottom_up --npz=DIR --captions=dataset_flickr30k.json --out=DIR
    python -m itm_jax.convert karpathy --captions=dataset_flickr30k.json --out=DIR
    python -m itm_jax.convert gsmn_boxes --precomp=DIR --images=DIR
    python -m itm_jax.convert checkpoint --kind=itmafa --file=model_best.pth --text=bert-base-uncased --out=DIR

`tfds` writes ArrayRecord files through TFDS, without TensorFlow, to OUT/name/1.0.0; train from them with
--config.data.source=tfds --config.data.dir=OUT.
`dependencies` parses the captions with spaCy (extra `spacy`, and a pipeline with a parser) and writes
{split}_dependencies.json beside them, for --config.model.words.graph=sparse.
`bottom_up` reads region features of bottom-up attention: TSV files, or a folder with an .npz for each image (TERAN's
boxes: --box_dir). Captions and splits come from Karpathy's file, or from one of the other forms of itm_jax.extract.
`karpathy` writes the captions and the names of the images of each split, without features.
`gsmn_boxes` turns {split}_ims_bbx.npy of GSMN and CMCAN into our {split}_boxes.npy and {split}_img_sizes.npy.
`checkpoint` converts a checkpoint of the authors of AFA (--kind=itmafa) or of VSE∞ (--kind=vse_infty), with BERT, to a
folder that itm_jax.load reads. It needs PyTorch (extra `parity`), and nothing in the file is executed.
"""

import signal
import sys

from absl import flags

from itm_jax.cli import commands
from itm_jax.errors import InputError, TerminatedError
from itm_jax.terminal import say

WORDS = ("tfds", "dependencies", "bottom_up", "karpathy", "gsmn_boxes", "checkpoint")
FLAGS = flags.FlagValues()
_PRECOMP = flags.DEFINE_string(
    "precomp", None, "directory with {split}_ims.npy, or the one above its precomp/", flag_values=FLAGS
)
_OUT = flags.DEFINE_string(
    "out", None, "directory to write to; tfds writes the data set to OUT/name/1.0.0", flag_values=FLAGS
)
_SPLITS = flags.DEFINE_list("splits", None, "splits to convert, default: all in the directory", flag_values=FLAGS)
_PARSER = flags.DEFINE_string(
    "parser", "en_core_web_sm", "dependencies: name or directory of a spaCy pipeline", flag_values=FLAGS
)
_NAME = flags.DEFINE_string(
    "name", None, "tfds: name of the data set, default: the name of the --precomp directory", flag_values=FLAGS
)
_PAIRING = flags.DEFINE_enum(
    "pairing",
    "order",
    ["order", "ids"],
    "tfds: what says which captions belong to an image, the order of the files or {split}_ids.txt",
    flag_values=FLAGS,
)
_TSV = flags.DEFINE_list("tsv", [], "bottom_up: TSV files of bottom-up attention", flag_values=FLAGS)
_NPZ = flags.DEFINE_string("npz", None, "bottom_up: a folder with an .npz for each image", flag_values=FLAGS)
_BOX_DIR = flags.DEFINE_string(
    "box_dir", None, "bottom_up: a folder with the boxes of each image, ID.npy (TERAN)", flag_values=FLAGS
)
_CAPTIONS = flags.DEFINE_string("captions", None, "bottom_up, karpathy: the file of captions", flag_values=FLAGS)
_PER_IMAGE = flags.DEFINE_integer(
    "captions_per_image", None, "take the first N captions of each image", lower_bound=1, flag_values=FLAGS
)
_REGIONS = flags.DEFINE_integer("regions", 36, "bottom_up: regions of an image", lower_bound=1, flag_values=FLAGS)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "float16"], "bottom_up: type of the features", flag_values=FLAGS
)
_KIND = flags.DEFINE_enum(
    "kind", None, ["itmafa", "vse_infty"], "checkpoint: whose code wrote the file", flag_values=FLAGS
)
_FILE = flags.DEFINE_string("file", None, "checkpoint: the file, model_best.pth for example", flag_values=FLAGS)
_TEXT = flags.DEFINE_string(
    "text",
    "bert-base-uncased",
    "checkpoint: directory or hub name of the BERT whose tokenizer it was trained with",
    flag_values=FLAGS,
)
_LICENSE = flags.DEFINE_string("license", None, "checkpoint: licence for the model card", flag_values=FLAGS)
_IMAGES = flags.DEFINE_string(
    "images", None, "gsmn_boxes, bottom_up: the folder of the images, for their sizes", flag_values=FLAGS
)


def main(word: str) -> None:
    """Flags -> one conversion; `word` is the form to convert to or from, or what to add."""
    if word in ("bottom_up", "karpathy"):
        return _to_precomp(word)
    if word == "gsmn_boxes":
        return _boxes()
    if word == "checkpoint":
        return _checkpoint()
    precomp = str(
        commands.directory("precomp", commands.required(_PRECOMP, "DIR", "the directory with {split}_ims.npy"))
    )
    if word == "dependencies":
        from itm_jax.data.precomp.dependencies import load_parser, write_dependencies

        written = write_dependencies(precomp, _SPLITS.value, load_parser(_PARSER.value))
        print("\n".join(f"written: {path}" for path in written))
        return
    out = str(commands.directory("out", commands.required(_OUT, "DIR", "the directory to write to")))
    from itm_jax.data.tfds.builder import build

    signal.signal(signal.SIGTERM, _terminate)
    path = build(precomp, out, splits=_SPLITS.value, name=_NAME.value or "", pairing=_PAIRING.value)
    print(f"written: {path}\ntrain from it with --config.data.source={word} --config.data.dir={path}")


def _to_precomp(word: str) -> None:
    """Captions, and with `bottom_up` features, to SCAN's form."""
    from itm_jax.data.forms.bottom_up import read_tsv, rows_of_npz
    from itm_jax.data.forms.write_precomp import write_data_set, write_texts
    from itm_jax.vision.caption_files import read_items
    from itm_jax.vision.splits import same_number, split_items

    captions = commands.file("captions", commands.required(_CAPTIONS, "FILE", "the file of captions"))
    out = commands.directory("out", commands.required(_OUT, "DIR", "the directory to write to"))
    whole = read_items(captions)
    if without := [item for item in whole if item.split is None]:
        raise InputError(
            f"{captions}: {without[0].where}: {without[0].image} has no split; add the splits, or take a file that "
            "has them, as Karpathy's"
        )
    items, _ = same_number([item for item in whole if item.captions], captions, _PER_IMAGE.value)
    if len(items) < len(whole):
        say(f"left out, too few captions: {len(whole) - len(items):,} images")
    splits = split_items(items, captions, lists={}, draw={}, seed=0)
    if word == "karpathy":
        write_texts(out, splits)
    else:
        if bool(_TSV.value) == bool(_NPZ.value):
            raise InputError("--tsv, --npz: pass one of them, the files or the folder of the region features")
        boxes = commands.directory("box_dir", _BOX_DIR.value) if _BOX_DIR.value else None
        tsv = [commands.file("tsv", path) for path in _TSV.value]
        rows = read_tsv(tsv) if tsv else rows_of_npz(commands.directory("npz", _NPZ.value or ""), boxes)
        images = commands.directory("images", _IMAGES.value) if _IMAGES.value else None
        write_data_set(rows, splits, out, regions=_REGIONS.value, dtype=_DTYPE.value, images=images)
    print(f"written: {out}: " + ", ".join(f"{split} {len(found):,} images" for split, found in splits.items()))


def _boxes() -> None:
    from itm_jax.data.forms.gsmn import convert_boxes

    precomp = commands.directory(
        "precomp", commands.required(_PRECOMP, "DIR", "the directory with {split}_ims_bbx.npy")
    )
    images = commands.directory("images", commands.required(_IMAGES, "DIR", "the folder of the images"))
    print("\n".join(f"written: {path}" for path in convert_boxes(precomp, images)))


def _checkpoint() -> None:
    from itm_jax.hub.from_authors import import_checkpoint

    kind = commands.required(_KIND, "itmafa|vse_infty", "whose code wrote the file")
    path = commands.file("file", commands.required(_FILE, "FILE", "the checkpoint"))
    out = commands.directory("out", commands.required(_OUT, "DIR", "the folder to write to"))
    read = import_checkpoint(path, kind, out, text=_TEXT.value, license_name=_LICENSE.value)
    said = ", ".join(f"{key} {value}" for key, value in read.details.items() if key in ("epoch", "best_rsum"))
    print(f"written: {out}: {read.config.model.name}" + (f"; the file says: {said}" if said else ""))


def _terminate(*_):
    raise TerminatedError("stopped by SIGTERM; nothing was kept, run the same command again")


if __name__ == "__main__":
    sys.exit(commands.start(sys.modules[__name__], sys.argv))
