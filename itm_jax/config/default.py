"""The default config: every field with its default value and what it means."""

import ml_collections
from ml_collections import config_dict


def default_config() -> ml_collections.ConfigDict:
    """The recipe of AFA's authors (scripts/train_f30k.sh) on Flickr30K; every config file starts from this."""
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.init_from = config_dict.placeholder(str)  # workdir of a finished run whose best parameters start this one

    c.data = ml_collections.ConfigDict()
    c.data.source = "precomp"  # or scenes, tfds, MODULE:FUNCTION of your own
    c.data.name = "f30k"  # the `dataset` of results.json
    c.data.dir = config_dict.placeholder(str)
    c.data.train_split = "train"
    c.data.dev_split = "dev"
    c.data.test_split = "test"
    c.data.batch_size = 128
    c.data.eval_batch_size = 256
    c.data.max_tokens = 96  # longer captions are cut, [SEP] kept
    c.data.token_buckets = (16, 24, 32, 40, 48, 64)  # padded lengths; captions above the last go to max_tokens
    c.data.prefetch = 4  # batches read ahead
    # Features of the train split: on the devices (auto: where they are accelerators with room), or read batch by batch.
    c.data.bank = "auto"
    c.data.cache_dir = config_dict.placeholder(str)  # default: $XDG_CACHE_HOME/itm_jax
    c.data.scenes = ml_collections.ConfigDict(
        {"train": 2000, "dev": 500, "test": 500, "regions": 16, "features": 128, "noise": 1.5, "seed": 0}
    )
    # For experiments: the share of the training images that is used, and of every split the number of regions (0: all), the
    # share of labels that change places and the share of words that become others or misspelt.
    c.data.train_share = 1.0
    c.data.alter = ml_collections.ConfigDict({"regions": 0, "permuted_labels": 0.0, "noisy_words": 0.0})
    c.data.augment = ml_collections.ConfigDict(
        {"region_drop": 0.2, "word_touch": 0.2, "word_mask": 0.5, "word_random": 0.1, "word_delete": 0.4}
    )

    c.model = ml_collections.ConfigDict()
    c.model.name = "afa"  # afa, cpfean, a baseline (vsepp, vseinf, scan, late), or MODULE:CLASS of your own
    c.model.variant = "paper"  # official: as the authors' code; decides the fields marked (variant) that are not set
    c.model.width = 1024  # joint width d
    c.model.dtype = "float32"  # compute; parameters and losses stay float32
    c.model.selection = config_dict.placeholder(str)  # max, mean, gpo; None: max (afa), mean (vsepp), gpo (vseinf)
    c.model.enhancement = ml_collections.ConfigDict()
    c.model.enhancement.text = config_dict.placeholder(str)  # (variant) mlp beside the linear layer, or linear alone
    c.model.enhancement.statistics = config_dict.placeholder(str)  # (variant) BatchNorm over valid rows, or all
    c.model.aggregation = ml_collections.ConfigDict(
        {"enabled": True, "ratio": 0.05, "pairing": "similarity", "shuffle": True}
    )
    c.model.aggregation.variant = config_dict.placeholder(str)  # (variant)
    _fragments(c.model)
    c.model.text = ml_collections.ConfigDict()
    c.model.text.encoder = "bert"  # gru: a BiGRU from scratch, whose states are model.width wide
    c.model.text.embed_size = 300  # (gru) width of the word embeddings
    c.model.text.min_count = 4  # (gru) rarer words of the train captions are [UNK]
    c.model.text.pretrained = config_dict.placeholder(str)  # (bert) directory or hub name; None: from scratch
    c.model.text.trainable = True  # False: states encoded once and cached
    c.model.text.cache_dtype = "float16"
    # None: the WordPiece vocabulary of the checkpoint, or of scenes; for gru the words of the train captions. A gru run
    # keeps its own in WORKDIR/vocab.txt and reads it from there ever after.
    c.model.text.vocab = config_dict.placeholder(str)
    c.model.text.vocab_size = 0  # filled in from the vocabulary or the checkpoint, as are the next ones for the latter
    c.model.text.hidden_size = 256  # (bert), as all that follow but dropout
    c.model.text.num_layers = 4
    c.model.text.num_heads = 4
    c.model.text.intermediate_size = 1024
    c.model.text.max_positions = 128
    c.model.text.type_vocab_size = 2
    c.model.text.activation = "gelu"
    c.model.text.layer_norm_eps = 1e-12
    c.model.text.dropout = config_dict.placeholder(float)  # None: the checkpoint's, 0.1 from scratch, 0 for gru

    c.loss = ml_collections.ConfigDict()
    # MODULE:FUNCTION of your own in place of all that follow but same_image and num_negatives (docs/extending.md).
    c.loss.function = config_dict.placeholder(str)
    c.loss.margin = 0.2
    # (variant) terms 3-4: mixup; hardest: the negative itself; none: dropped; hinge: terms 1-2 again, half the margin.
    # none for every model but AFA where not set.
    c.loss.soft_negatives = config_dict.placeholder(str)
    c.loss.tau = 1.0
    c.loss.fold = True
    c.loss.stop_gradient = False
    c.loss.same_image = config_dict.placeholder(str)  # (variant) mask, or keep other captions of an image as negatives
    c.loss.num_negatives = 0  # negatives per query; 0: all of the batch
    c.loss.warmup_epochs = 1.0  # epochs in which terms 1-2 sum over all negatives

    c.optim = ml_collections.ConfigDict()
    c.optim.lr = 5e-4
    # Learning rate of the text encoder as a fraction of lr; None: 0.1 where it is pretrained, 1 from scratch.
    c.optim.text_lr_factor = config_dict.placeholder(float)
    c.optim.weight_decay = 1e-4
    c.optim.clip = 2.0
    c.optim.decay_epochs = (15,)
    c.optim.decay_factor = 0.1
    c.optim.sharded = False  # the optimiser's state in parts over the devices instead of whole on each

    c.train = ml_collections.ConfigDict()
    c.train.epochs = 30.0
    c.train.eval_every_epochs = 1.0
    c.train.checkpoint_every = 0  # steps between checkpoints besides those at evaluations; 0: none
    c.train.log_every = 10
    # Both save memory where the text encoder is trained, for about a third more of its time. The gradient is the same.
    c.train.text_parts = 1  # the encoder goes through a batch in this many parts; losses and statistics see all of it
    c.train.remat = False  # (bert) its layers are computed again for the gradient
    # First and last step of a trace for XProf or TensorBoard, written to WORKDIR/profile; (0, 0): none.
    c.train.profile = (0, 0)
    c.train.max_skipped = 20  # steps with a non-finite loss or gradient that a run survives

    c.eval = ml_collections.ConfigDict()
    c.eval.tile = 1024
    c.eval.matrix_gb = 4.0  # more scores than fit in this are never held: ranks are reduced tile by tile
    # Directory of the ground truth of ECCV Caption and CxC, for COCO's 5,000 test images (metrics/eccv.py).
    c.eval.ground_truth = config_dict.placeholder(str)
    return c


def get_config() -> ml_collections.ConfigDict:
    """The default config: makes this file one that --config takes."""
    return default_config()


def _fragments(model: ml_collections.ConfigDict) -> None:
    """The fields of CPFEAN; `attention` is SCAN's too."""
    model.regions = ml_collections.ConfigDict()
    model.regions.boxes = config_dict.placeholder(bool)  # box prior; None: where the data has boxes
    model.regions.labels = config_dict.placeholder(bool)  # label prior; None: where the data has labels
    # Label names of the learned table, where no pretrained encoder reads them; filled in from the train split.
    model.regions.label_names = ()
    model.graph = ml_collections.ConfigDict({"layers": 1, "heads": 8, "dropout": 0.1})  # the visual Transformer
    model.graph.iou = config_dict.placeholder(float)  # regions attend where their IoU is greater; None: all pairs
    model.graph.iou = 0.2  # -1 says the same on a command line, which cannot say None
    model.graph.filter = False  # drop regions without any neighbour
    model.words = ml_collections.ConfigDict({"layers": 1, "graph": "dense"})  # the word GCN; sparse: dependency edges
    # Rounds of fusion (0: none), its gate (region, feature), and the gate's first weight of the cosine and bias.
    model.fusion = ml_collections.ConfigDict({"rounds": 1, "gate": "region", "scale": 4.0, "bias": -8.0})
    # prominent, or cross_attention (SCAN t2i); the rest is of the former: exponent of the corpus prior, sides.
    model.alignment = ml_collections.ConfigDict({"kind": "prominent", "beta": 1.0, "gamma": 0.0, "sides": "both"})
    model.attention = ml_collections.ConfigDict({"direction": "t2i"})
    model.attention.temperature = config_dict.placeholder(float)  # None: 9 for t2i, 4 for i2t, as SCAN's
