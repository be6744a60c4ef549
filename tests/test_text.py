"""Captions as word pieces: whitespace words keep their numbers, padding holds nothing, [SEP] survives every cut."""

import numpy as np
import pytest

from itm_jax.config.default import default_config
from itm_jax.data.scenes.captions import vocabulary
from itm_jax.data.text.text_input import SCENES_VOCAB, checkpoint_fields, load_text, wordpiece_tokenizer
from itm_jax.data.text.tokens import gather_tokens, padded_length, tokenize
from itm_jax.data.text.vocabulary import SPECIAL, read_vocabulary
from itm_jax.errors import InputError
from itm_jax.modules.bert import BertConfig

CAPTIONS = (
    "a red circle",
    "A Zebra's half-hidden RED café",  # capitals, an apostrophe, a hyphen and an accent: pieces within a word
    "disc",
    "there  is a\tgolden star above an azure bar on the sea",  # runs of whitespace are one
    "a \u200b ball",  # a word of which nothing remains keeps its number
)
PAD, UNK, CLS, SEP, MASK = range(5)


@pytest.fixture(scope="module")
def tokenizer():
    return wordpiece_tokenizer(SCENES_VOCAB)


@pytest.fixture(scope="module")
def table(tokenizer):
    return tokenize(CAPTIONS, tokenizer)


def scenes_config(**data):
    config = default_config()
    config.data.source = "scenes"
    config.data.update(data)
    return config


def rows_of(table, c):
    return slice(table.offsets[c], table.offsets[c + 1])


def test_word_ids_count_whitespace_words(tokenizer, table):
    assert table.offsets[0] == 0
    assert table.offsets[-1] == len(table.ids) == len(table.word_ids)
    for c, caption in enumerate(CAPTIONS):
        ids, words = table.ids[rows_of(table, c)], table.word_ids[rows_of(table, c)]
        assert ids[0] == CLS
        assert ids[-1] == SEP
        np.testing.assert_array_equal(words[[0, -1]], -1)
        assert np.all(words[1:-1] >= 0)
        assert not np.any(np.isin(ids[1:-1], (PAD, UNK, CLS, SEP, MASK)))
        for k, word in enumerate(caption.split()):
            pieces = "".join(tokenizer.id_to_token(int(i)).removeprefix("##") for i in ids[words == k])
            assert pieces == word.lower().replace("é", "e").replace("\u200b", "")


def test_captions_are_tokenized_alike_in_any_chunks(tokenizer, table):
    again = tokenize(CAPTIONS, tokenizer, chunk=2)
    for name in ("ids", "word_ids", "offsets"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    assert (table.ids.dtype, table.word_ids.dtype) == (np.int32, np.int32)


@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize("extra", [0, 7])
def test_gathered_rows_are_the_captions_and_padding_is_empty(table, rng, extra, with_states):
    rows = np.array([4, 1, 3, 1, 0, 2])  # the last one too, after which the table ends
    length = int(table.lengths[rows].max()) + extra
    states = rng.standard_normal((len(table.ids), 5)).astype(np.float16) if with_states else None
    tokens = gather_tokens(table, rows, length, states)
    assert (tokens.ids.dtype, tokens.word_ids.dtype, tokens.mask.dtype) == (np.int32, np.int32, bool)
    assert tokens.edges is None
    for k, c in enumerate(rows):
        n = int(table.lengths[c])
        np.testing.assert_array_equal(tokens.mask[k], np.arange(length) < n)
        np.testing.assert_array_equal(tokens.ids[k, :n], table.ids[rows_of(table, c)])
        np.testing.assert_array_equal(tokens.word_ids[k, :n], table.word_ids[rows_of(table, c)])
        np.testing.assert_array_equal(tokens.ids[k, n:], PAD)
        np.testing.assert_array_equal(tokens.word_ids[k, n:], -1)
        if with_states:
            np.testing.assert_array_equal(tokens.states[k, :n], states[rows_of(table, c)])
            np.testing.assert_array_equal(tokens.states[k, n:], 0)
    if with_states:
        assert tokens.states.dtype == np.float16  # as stored: the cache's width is what travels to the device
    else:
        assert tokens.states is None


@pytest.mark.parametrize(
    ("longest", "buckets", "limit", "expected"),
    [
        (9, (16, 24), 96, 16),
        (16, (16, 24), 96, 16),
        (17, (16, 24), 96, 24),
        (25, (16, 24), 96, 96),  # above the last bucket
        (17, (16, 24), 20, 20),  # no bucket beyond the limit
        (5, (), 32, 32),
    ],
)
def test_padded_length_is_the_smallest_bucket_that_fits(longest, buckets, limit, expected):
    assert padded_length(longest, buckets, limit) == expected


@pytest.mark.parametrize("max_tokens", [4, 6, 12])
def test_long_captions_are_cut_and_keep_their_sep(table, max_tokens):
    text = load_text(scenes_config(max_tokens=max_tokens))
    cut = tokenize(CAPTIONS, text.tokenizer)
    np.testing.assert_array_equal(cut.lengths, np.minimum(table.lengths, max_tokens))
    for c in range(len(CAPTIONS)):
        ids, words, n = cut.ids[rows_of(cut, c)], cut.word_ids[rows_of(cut, c)], int(cut.lengths[c])
        assert ids[-1] == SEP
        assert words[-1] == -1
        np.testing.assert_array_equal(ids[:-1], table.ids[rows_of(table, c)][: n - 1])
        np.testing.assert_array_equal(words[:-1], table.word_ids[rows_of(table, c)][: n - 1])


def test_load_text_for_scenes_fills_in_what_the_vocabulary_decides():
    config = scenes_config()
    text = load_text(config)
    assert config.model.text.vocab_size == 0  # the config that is handed in stays as it is
    assert text.fields["vocab_size"] == text.bert.vocab_size == len(vocabulary())
    assert text.mask_id == MASK
    assert text.params is None
    assert text.replacements.dtype == np.int32
    np.testing.assert_array_equal(text.replacements, np.arange(len(SPECIAL), len(vocabulary())))
    assert tokenize(["a red disc"], text.tokenizer).lengths == [5]  # no padding from a tokenizer's own settings


def test_replacements_hold_neither_special_nor_unused_tokens(tmp_path):
    lines = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "red", "##s", "[", "]", "[]"]
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join(lines).encode())
    config = default_config()
    config.model.text.vocab = str(path)
    text = load_text(config)
    assert [lines[i] for i in text.replacements] == ["red", "##s", "[", "]"]
    assert text.mask_id == 5
    assert text.fields["vocab_size"] == 12


@pytest.mark.parametrize("missing", SPECIAL)
def test_a_vocabulary_without_a_special_token_is_an_input_error(tmp_path, missing):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(line for line in vocabulary() if line != missing) + "\n")
    config = scenes_config()
    config.model.text.vocab = str(path)
    with pytest.raises(InputError) as caught:
        load_text(config)
    assert str(path) in str(caught.value)
    assert missing in str(caught.value)


@pytest.mark.parametrize("content", [None, b"[PAD]\n\xff\n", b""])
def test_an_unreadable_vocabulary_is_an_input_error(tmp_path, content):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"vocab\.txt"):
        wordpiece_tokenizer(path)


def test_only_line_feeds_separate_the_words_of_a_vocabulary(tmp_path):
    words = [*SPECIAL, "a\u2028b", "c\x0bd", "e\x85", "f\rg", "\u3000"]
    for ending in ("\n", "\r\n"):
        (tmp_path / "vocab.txt").write_bytes("".join(word + ending for word in words).encode())
        assert wordpiece_tokenizer(tmp_path / "vocab.txt").get_vocab() == {word: k for k, word in enumerate(words)}
        assert read_vocabulary(tmp_path / "vocab.txt") == tuple(words)


def test_settings_that_cannot_work_are_input_errors():
    with pytest.raises(InputError, match=r"max_tokens=129: the text encoder has 128 positions"):
        load_text(scenes_config(max_tokens=129))
    with pytest.raises(InputError, match=r"config\.model\.text: neither pretrained nor vocab is set"):
        load_text(default_config())


def test_a_real_checkpoint_decides_the_encoder(minilm):
    config = default_config()
    config.model.text.pretrained = minilm
    text = load_text(config)
    assert (text.fields["vocab_size"], text.fields["hidden_size"], text.fields["num_layers"]) == (
        30522,
        384,
        6,
    )
    assert text.bert.hidden_size == 384
    names = [text.tokenizer.id_to_token(int(i)) for i in text.replacements]
    assert len(names) == 30522 - 5 - 994  # special and [unused...] ones
    assert not any(name in SPECIAL or name.startswith("[unused") for name in names)
    table = tokenize(["Two dogs are playing frisbee", " ".join(["dog"] * 200)], text.tokenizer)
    np.testing.assert_array_equal(table.word_ids[:9], [-1, 0, 1, 2, 3, 4, 4, 4, -1])
    assert table.lengths[1] == config.data.max_tokens
    assert text.tokenizer.id_to_token(int(table.ids[-1])) == "[SEP]"


def test_a_checkpoint_decides_its_architecture_and_the_config_its_dropout():
    checkpoint = BertConfig(99, 48, 3, 6, 96, 64, dropout=0.2)
    text = default_config().model.text
    assert BertConfig.from_config({**text, **checkpoint_fields(text, checkpoint)}) == checkpoint
    text = default_config().model.text
    text.dropout = 0.0
    assert checkpoint_fields(text, checkpoint)["dropout"] == 0.0
    text = default_config().model.text
    text.num_layers = 7
    with pytest.raises(InputError, match=r"config\.model\.text\.num_layers=7: .* has 3"):
        checkpoint_fields(text, checkpoint)


# A BERT vocabulary with the characters of these captions.
UNSPACED = ["两只狗在雪地里玩耍", "一个穿红色衣服的小孩在海边跑步", "二匹の犬が雪の中で遊んでいる", "A dog 在公园"]
SEGMENTED = ["两 只 狗 在 雪地 里 玩耍", "一 个 小孩 在 海边 跑步", "二匹 の 犬 が 雪 の 中 で 遊んで いる"]
THAI = ["สุนัขสองตัวกำลังวิ่งเล่นในหิมะ", "เด็กผู้ชายยืนอยู่หน้าบ้านสีแดง"]


@pytest.fixture
def characters(tmp_path):
    """A WordPiece tokenizer with all characters of these captions, alone and as continuations."""
    letters = sorted({x.lower() for caption in (*UNSPACED, *SEGMENTED, *THAI, *CAPTIONS) for x in caption if x != " "})
    words = [*SPECIAL, *letters, *(f"##{x}" for x in letters)]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    return wordpiece_tokenizer(tmp_path / "vocab.txt")


def test_pieces_are_words_where_words_are_not_separated(characters):
    table = tokenize(UNSPACED, characters)
    assert table.by_piece
    words = [table.word_ids[rows_of(table, c)].tolist() for c in range(len(UNSPACED))]
    assert words[0] == [-1, *range(len(UNSPACED[0])), -1]
    assert words[3] == [-1, 0, 1, 1, 1, 2, 3, 4, -1]  # "A", "dog" whole, then one character at a time
    assert tokenize(THAI, characters).by_piece
    for captions in (SEGMENTED, CAPTIONS, ["한 아이가 눈밭에서 놀고 있다"]):
        table = tokenize(captions, characters)
        assert not table.by_piece
        for c, caption in enumerate(captions):
            assert table.word_ids[rows_of(table, c)].max() < len(caption.split())


def test_a_blank_caption_among_unseparated_ones_has_no_word(characters):
    table = tokenize([*UNSPACED, ""], characters)
    assert table.by_piece
    assert table.word_ids[rows_of(table, len(UNSPACED))].tolist() == [-1, -1]


def test_few_captions_in_another_script_change_nothing(characters):
    assert not tokenize([UNSPACED[0], *CAPTIONS * 20], characters).by_piece


def test_dependency_edges_keep_whitespace_words(characters):
    table = tokenize(UNSPACED, characters, edges=[[]] * len(UNSPACED))
    assert not table.by_piece
    assert table.word_ids[rows_of(table, 0)].max() == 0


def test_augmentation_touches_pieces_of_unseparated_captions(characters):
    """No caption is [MASK] throughout, and all three changes happen."""
    import jax

    from itm_jax.structs import Batch, Regions
    from itm_jax.training.augment import AugmentConstants, augment

    table = tokenize(UNSPACED[:2] * 200, characters)
    tokens = gather_tokens(table, np.arange(400), 24)
    regions = Regions(np.ones((400, 2, 1), np.float32), np.ones((400, 2), bool))
    constants = AugmentConstants(MASK, jax.numpy.arange(5, 15, dtype="int32"))
    out = augment(jax.random.key(0), Batch(regions, tokens, np.arange(400)), constants, default_config().data.augment)
    words = np.asarray(tokens.mask.sum(axis=1) - 2)
    left = np.asarray(out.tokens.mask.sum(axis=1) - 2)
    masked = np.asarray((out.tokens.ids == MASK).sum(axis=1))
    assert (masked < left).all()
    assert 0.06 < np.mean((words - left) / words) < 0.10  # 20% touched, 40% of these deleted
    assert 0.08 < np.mean(masked / words) < 0.12


def test_captions_that_are_cut_are_counted():
    tokenizer = wordpiece_tokenizer(SCENES_VOCAB)
    whole = tokenize(CAPTIONS, tokenizer)
    assert whole.cut == 0
    tokenizer.enable_truncation(6)
    assert tokenize(CAPTIONS, tokenizer).cut == np.sum(whole.lengths > 6) == 3
