"""The flags of `python -m itm_jax.bench`."""

from absl import flags
from ml_collections import config_flags

FLAGS = flags.FlagValues()
CONFIG = config_flags.DEFINE_config_file("config", None, "train, encode, input, growth: config file", flag_values=FLAGS)
TFDS = flags.DEFINE_string(
    "tfds",
    None,
    "input: directory of the same data as itm_jax.convert tfds wrote them, to be measured in the same run",
    flag_values=FLAGS,
)
STEP = flags.DEFINE_bool(
    "step",
    False,
    "input: also measure the training step of the config on such batches, and the ratio of both",
    flag_values=FLAGS,
)
AGAINST = flags.DEFINE_enum(
    "against",
    None,
    ["torch"],
    "train, extract: also measure a plain PyTorch version, in turn with ours",
    flag_values=FLAGS,
)
BATCHES = flags.DEFINE_integer("batches", 50, "input: batches per timed repetition", lower_bound=1, flag_values=FLAGS)
REPEATS = flags.DEFINE_integer("repeats", 10, "timed repetitions", lower_bound=1, flag_values=FLAGS)
REGIONS = flags.DEFINE_integer(
    "regions",
    36,
    "train, encode, score, growth, extract, search: regions per image",
    lower_bound=1,
    flag_values=FLAGS,
)
WIDTH = flags.DEFINE_integer(
    "width", 2048, "train, encode, growth: width of a region feature", lower_bound=1, flag_values=FLAGS
)
TOKENS = flags.DEFINE_integer(
    "tokens", 32, "train, encode, score, growth: padded caption length", lower_bound=8, flag_values=FLAGS
)
IMAGES = flags.DEFINE_integer(
    "images", 5000, "encode, rank, score, extract, search: images", lower_bound=1, flag_values=FLAGS
)
CAPTIONS = flags.DEFINE_integer(
    "captions",
    25000,
    "encode, rank, score: captions, a multiple of the images",
    lower_bound=1,
    flag_values=FLAGS,
)
JOINT = flags.DEFINE_integer("joint", 1024, "score, growth, search: joint width", lower_bound=2, flag_values=FLAGS)
TILE = flags.DEFINE_integer("tile", 256, "score: images and captions per tile", lower_bound=1, flag_values=FLAGS)
BATCH_SIZES = flags.DEFINE_list(
    "batch_sizes", ["16", "32", "64", "128"], "growth: batch sizes of the step", flag_values=FLAGS
)
GALLERIES = flags.DEFINE_list(
    "galleries", ["250", "500", "1000", "2000"], "growth: numbers of images in the gallery", flag_values=FLAGS
)
TILES = flags.DEFINE_list("tiles", ["64", "128", "256", "512"], "growth: tile sizes of the scores", flag_values=FLAGS)
OUT_DIR = flags.DEFINE_string("out_dir", None, "growth: directory for the table and the plot", flag_values=FLAGS)
RUNS = flags.DEFINE_list(
    "runs", [], "shortlist: two finished runs on the same data, AFA_RUN,CPFEAN_RUN", flag_values=FLAGS
)
SPLITS = flags.DEFINE_list(
    "splits", ["dev", "test"], "shortlist: splits of their data, which together are one gallery", flag_values=FLAGS
)
LENGTHS = flags.DEFINE_list(
    "lengths", ["10", "20", "50", "100", "200"], "shortlist: lengths of the shortlist", flag_values=FLAGS
)
BACKBONE = flags.DEFINE_string("backbone", "efficientnet-lite0", "extract: the backbone", flag_values=FLAGS)
THREADS = flags.DEFINE_integer("threads", 4, "extract: threads that decode", lower_bound=1, flag_values=FLAGS)
MODEL = flags.DEFINE_string("model", None, "load: run, exported folder or hub name", flag_values=FLAGS)
PLAN = flags.DEFINE_string("plan", None, "models: JSON file with a config for each name", flag_values=FLAGS)
OUT = flags.DEFINE_string("out", None, "also write the figures to this JSON file", flag_values=FLAGS)
