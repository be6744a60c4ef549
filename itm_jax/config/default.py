"""The default config: every field with its default value, its meaning, its unit and its possible values."""

import ml_collections
from ml_collections import config_dict


def default_config() -> ml_collections.ConfigDict:
    """Returns the recipe of AFA's authors (scripts/train_f30k.sh) on Flickr30K; every config file starts from this."""
    c = ml_collections.ConfigDict()
    c.seed = 0  # decides the parameters, the order of the batches and all random draws of training; 0 to 2^31 - 1
    # The workdir of a finished run; this run starts from its best parameters. None: from fresh parameters.
    c.init_from = config_dict.placeholder(str)

    c.data = ml_collections.ConfigDict()
    c.data.source = "precomp"  # precomp, tfds, scenes, or MODULE:FUNCTION of your own
    c.data.name = "f30k"  # the name of the data set; results.json has it as `dataset`
    # The directory of the data (precomp, tfds), or its address in a bucket (gs://, s3://, az://).
    c.data.dir = config_dict.placeholder(str)
    # (precomp) What says which captions belong to an image. order: the order of the files; a file of ids must agree
    # with it. ids: {split}_ids.txt, where it has a line per caption; the captions may then stand in any order.
    c.data.pairing = "order"
    c.data.train_split = "train"
    c.data.dev_split = "dev"  # the split on which the best checkpoint is selected
    c.data.test_split = "test"  # the split that results.json reports
    c.data.batch_size = 128  # image-caption pairs per training step
    c.data.eval_batch_size = 256  # images, and captions, that evaluation encodes at a time
    c.data.max_tokens = 96  # tokens of a caption, [CLS] and [SEP] included; longer captions are cut and keep [SEP]
    # Padded lengths in tokens. A batch gets the smallest one that holds its longest caption, else max_tokens.
    c.data.token_buckets = (16, 24, 32, 40, 48, 64)
    c.data.prefetch = 4  # batches that are read ahead
    # Where the features of the train split are. device: all in the memory of the devices; host: read batch by batch;
    # auto: device where the devices are accelerators with enough memory, else host.
    c.data.bank = "auto"
    # Directory for cached hidden states and compiled programs. None: $XDG_CACHE_HOME/itm_jax, else ~/.cache/itm_jax.
    c.data.cache_dir = config_dict.placeholder(str)
    # Data in a bucket: GB on the local disk that the copy of a split may take. Features that are larger are read from
    # the bucket by row, and as many rows as fit are kept.
    c.data.cache_gb = 50.0
    c.data.scenes = ml_collections.ConfigDict(
        {
            "train": 2000,  # images per split
            "dev": 500,
            "test": 500,
            "regions": 16,  # per image, 1 to 100
            "features": 128,  # width of a region's features
            "noise": 1.5,  # standard deviation of the noise in the features
            "seed": 0,
        }
    )
    c.data.train_share = 1.0  # the share of the training images that is used: the first ones; above 0, at most 1
    # Changes of every split, for experiments.
    c.data.alter = ml_collections.ConfigDict(
        {
            "regions": 0,  # each image keeps this many regions, the first ones; 0: all
            "permuted_labels": 0.0,  # the share of the labels that are moved to other regions, 0 to 1
            "noisy_words": 0.0,  # the share of the words that are replaced or misspelt, 0 to 1
        }
    )
    # Changes in training. Each value is a probability, 0 to 1.
    c.data.augment = ml_collections.ConfigDict(
        {
            "region_drop": 0.2,  # a region is dropped
            "word_touch": 0.2,  # a word is touched; the next three say how, and add up to 1
            "word_mask": 0.5,  # a touched word becomes [MASK]
            "word_random": 0.1,  # a touched word becomes a random word
            "word_delete": 0.4,  # a touched word is deleted
        }
    )

    c.model = ml_collections.ConfigDict()
    c.model.name = "afa"  # afa, cpfean, a baseline (vsepp, vseinf, scan, late), or MODULE:CLASS of your own
    # paper, or official (afa only), which does what the authors' code does. It decides the fields marked (variant)
    # where they are not set.
    c.model.variant = "paper"
    c.model.width = 1024  # joint width d
    c.model.dtype = "float32"  # the dtype of the computation, float32 or bfloat16; parameters and losses stay float32
    # How the rows of an item become one vector: max, mean or gpo. None: max (afa), mean (vsepp), gpo (vseinf).
    c.model.selection = config_dict.placeholder(str)
    c.model.enhancement = ml_collections.ConfigDict()
    # (variant) mlp: captions go through a linear layer and an MLP; linear: through the linear layer alone.
    c.model.enhancement.text = config_dict.placeholder(str)
    # (variant) The rows that enter the statistics of BatchNorm. valid: the valid rows; all: padding too.
    c.model.enhancement.statistics = config_dict.placeholder(str)
    # (variant) How the layers start. lecun: normal, variance 1 / inputs, biases 0; authors: as in the authors' code,
    # Xavier's uniform for the linear layer of images, PyTorch's default for the others.
    c.model.enhancement.init = config_dict.placeholder(str)
    c.model.aggregation = ml_collections.ConfigDict(
        {
            "enabled": True,
            "ratio": 0.05,  # the share of an item's rows that is merged away, 0 to 0.5
            "pairing": "similarity",  # similarity: each source with its most similar destination; or random
            "shuffle": True,  # draw at random which rows are sources and which are destinations
        }
    )
    # (variant) paper or official; or official_single: official, with each item as a batch of its own, so that its
    # embedding does not depend on its batch.
    c.model.aggregation.variant = config_dict.placeholder(str)
    _fragments(c.model)
    c.model.text = ml_collections.ConfigDict()
    c.model.text.encoder = "bert"  # bert; or gru: a BiGRU from scratch, whose hidden states are model.width wide
    c.model.text.embed_size = 300  # (gru) width of the word embeddings
    c.model.text.min_count = 4  # (gru) words that occur less often in the train captions become [UNK]
    # (bert) A directory, a hub name, or package:NAME/FOLDER of an installed Python package; None: from scratch. Its
    # content, not its place, belongs to a run.
    c.model.text.pretrained = config_dict.placeholder(str)
    # False: the encoder is frozen; its hidden states are computed once and cached. It must be a pretrained one.
    c.model.text.trainable = True
    c.model.text.cache_dtype = "float16"  # the dtype of the cached hidden states, float16 or float32
    # A vocabulary file. None: for bert the WordPiece vocabulary of the checkpoint, or of scenes; for gru the words of
    # the train captions. A run keeps its tokenizer in WORKDIR/text (gru: in WORKDIR/vocab.txt) and reads it from there
    # from then on.
    c.model.text.vocab = config_dict.placeholder(str)
    c.model.text.vocab_size = 0  # filled in from the vocabulary or the checkpoint
    # The next ones are for bert alone, except dropout. A checkpoint fills them in.
    c.model.text.hidden_size = 256
    c.model.text.num_layers = 4
    c.model.text.num_heads = 4
    c.model.text.intermediate_size = 1024
    c.model.text.max_positions = 128  # tokens
    c.model.text.type_vocab_size = 2
    c.model.text.activation = "gelu"  # gelu, gelu_new, gelu_pytorch_tanh, relu or silu
    c.model.text.layer_norm_eps = 1e-12
    c.model.text.dropout = config_dict.placeholder(float)  # None: that of the checkpoint, 0.1 from scratch, 0 for gru

    c.loss = ml_collections.ConfigDict()
    # MODULE:FUNCTION of your own. It replaces all fields below except same_image and num_negatives (docs/extending.md).
    c.loss.function = config_dict.placeholder(str)
    c.loss.margin = 0.2  # α, in units of the score
    # (variant) Terms 3-4. mixup: negatives mixed with the positive; hardest: the hardest negative itself; none: without
    # terms 3-4; hinge: terms 1-2 again with half the margin. None: decided by the variant for afa, else none.
    c.loss.soft_negatives = config_dict.placeholder(str)
    c.loss.tau = 1.0  # (mixup) the mixing weight is drawn from Beta(tau, tau); greater than 0
    c.loss.fold = True  # (mixup) the negative gets the larger weight
    c.loss.normalize_mix = False  # (mixup) the mixed negative gets unit norm again
    c.loss.stop_gradient = False  # (mixup) no gradient through the mixed negative
    # (variant) The other captions of a query's image. mask: they are never negatives; keep: they are negatives.
    c.loss.same_image = config_dict.placeholder(str)
    c.loss.num_negatives = 0  # negatives per query; 0: all of the batch
    c.loss.warmup_epochs = 1.0  # epochs at the start in which terms 1-2 sum over all negatives, not the hardest alone

    c.optim = ml_collections.ConfigDict()
    c.optim.lr = 5e-4  # learning rate of AdamW
    # Learning rate of the text encoder as a fraction of lr. None: 0.1 where it is pretrained, 1 from scratch.
    c.optim.text_lr_factor = config_dict.placeholder(float)
    c.optim.weight_decay = 1e-4
    c.optim.clip = 2.0  # the largest global norm of a gradient; 0: no clipping
    c.optim.decay_epochs = (15,)  # after each of these epochs the learning rate is multiplied by decay_factor
    c.optim.decay_factor = 0.1
    c.optim.sharded = False  # True: each device holds a part of the optimiser's state; False: each holds all of it

    c.train = ml_collections.ConfigDict()
    c.train.epochs = 30.0
    c.train.eval_every_epochs = 1.0  # epochs between evaluations on dev; each one saves a checkpoint
    c.train.checkpoint_every = 0  # steps between further checkpoints; 0: none
    c.train.log_every = 10  # steps between lines of metrics.jsonl
    # The next two save memory where the text encoder is trained; the encoder then takes about a third more time. The
    # gradient is the same.
    c.train.text_parts = 1  # parts in which a batch goes through the encoder; losses and statistics see the whole batch
    c.train.remat = False  # (bert) True: the layers are computed again for the gradient
    # Where curves go besides metrics.jsonl: tensorboard, wandb (extra `wandb`) or none.
    c.train.logger = "tensorboard"
    # First and last step of a trace for XProf or TensorBoard, written to WORKDIR/profile. (0, 0): no trace.
    c.train.profile = (0, 0)
    c.train.max_skipped = 20  # the run ends after more steps than this with a non-finite loss or gradient

    c.eval = ml_collections.ConfigDict()
    c.eval.tile = 1024  # images, and captions, that are scored at a time
    # GB (10^9 bytes). A larger matrix of scores is never held: its scores become ranks tile by tile.
    c.eval.matrix_gb = 4.0
    # Directory of the ground truth of ECCV Caption and CxC, for the 5,000 test images of COCO (metrics/eccv.py).
    c.eval.ground_truth = config_dict.placeholder(str)
    return c


def get_config() -> ml_collections.ConfigDict:
    """Returns the default config. With this function `--config` accepts this file."""
    return default_config()


def _fragments(model: ml_collections.ConfigDict) -> None:
    """Adds the fields of CPFEAN; SCAN reads `attention` too."""
    model.regions = ml_collections.ConfigDict()
    model.regions.boxes = config_dict.placeholder(bool)  # box prior; None: used where the data set has boxes
    model.regions.labels = config_dict.placeholder(bool)  # label prior; None: used where the data set has labels
    # The label names of the learned table, where no pretrained encoder reads them; filled in from the train split.
    model.regions.label_names = ()
    model.graph = ml_collections.ConfigDict(  # the visual Transformer
        {
            "layers": 1,  # 0: no visual Transformer
            "heads": 8,
            "dropout": 0.1,
        }
    )
    model.graph.iou = config_dict.placeholder(float)
    # Two regions attend to each other where their IoU is greater. None: all pairs do; on a command line write -1.
    model.graph.iou = 0.2
    model.graph.filter = False  # True: drop regions that have no neighbour
    model.words = ml_collections.ConfigDict(  # the word GCN
        {
            "layers": 1,  # 0: no word GCN
            "graph": "dense",  # dense: all words are connected; sparse: dependency edges connect them
            # The standard deviation of W when training begins, as a share of the usual one (LeCun's). Above 0, because
            # a W of 0 would never learn.
            "scale": 0.1,
            "activation": "relu",  # relu: as in the paper; none: what a word takes from others is linear
        }
    )
    model.fusion = ml_collections.ConfigDict(
        {
            "rounds": 1,  # 0: no fusion
            # cosine: one gate per region, of the cosine alone; region: of region, word and cosine; feature: such a gate
            # for each dimension
            "gate": "region",
            "scale": 4.0,  # the weight of the cosine in the gate, when training begins
            "bias": -8.0,  # the bias of the gate, when training begins
            # The weight of a region in the score is its gate to this power; 1: as in the paper; 0: all regions weigh
            # the same. With learn_power this is the power when training begins.
            "power": 1.0,
            "learn_power": False,
            "rate": 1.0,  # how many times as fast as other parameters scale, bias and power are learned
        }
    )
    model.alignment = ml_collections.ConfigDict(
        {
            # prominent; or cross_attention (SCAN t2i), which reads no other field of this section but global_weight
            "kind": "prominent",
            "beta": 1.0,  # how much the prominence from the pair counts; 0: not at all
            "gamma": 0.0,  # exponent of the corpus prior; 0: no corpus prior
            # The prior of a word. lift: how much more often than by chance another caption of the image has it too;
            # agreement: how often two captions of an image have it, if one has.
            "prior": "lift",
            "sides": "both",  # the sides of the score: words, regions or both
            # The weight of the global score beside the alignment, when training begins; it is learned. The global score
            # is the cosine of the mean region and the mean word. 0: no global score.
            "global_weight": 0.0,
        }
    )
    model.attention = ml_collections.ConfigDict({"direction": "t2i"})  # t2i: words attend to regions; i2t: the reverse
    model.attention.temperature = config_dict.placeholder(float)  # None: that of SCAN, 9 for t2i, 4 for i2t
