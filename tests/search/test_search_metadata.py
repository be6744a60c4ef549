"""Columns of metadata: their types, filters, and files that cannot be used."""

import pytest
from support.search import ids_of

import itm_jax
from itm_jax.errors import InputError
from itm_jax.hub import gallery as galleries
from itm_jax.search.build import add, build
from itm_jax.search.metadata import read_metadata, types_of
from itm_jax.search.table import open_table


def test_filters_by_metadata(made, tmp_path):
    _, images, models, _ = made
    names = galleries.images_in(images)
    file = tmp_path / "metadata.csv"
    lines = [f"{name},{2000 + k},{'Oslo' if k % 2 else 'OFallon'},{k / 2}" for k, name in enumerate(names)]
    file.write_text("\n".join(["id,year,place,size", *lines]) + "\n")
    model, place = models["afa"], str(tmp_path / "index")
    build(model, galleries.of_images(model, images), place, metadata=read_metadata(file))
    assert dict(open_table(place)[1].metadata) == {"year": "int64", "place": "string", "size": "double"}
    index = itm_jax.search.open(place, model)
    hits = index.query("red", top=30, where="year >= 2010 AND place = 'Oslo'")
    assert sorted(ids_of(hits)) == [name for k, name in enumerate(names) if k >= 10 and k % 2]
    assert all(hit.metadata["year"] >= 2010 and hit.metadata["size"] >= 5 for hit in hits)
    assert index.query("red", where="year > 3000") == []
    assert index.query("red", where="place = 'a;b'") == []
    for wrong in ("yeer > 3", "year >", "drop table images", "year > 3; drop table images", "", "year / 0 > 1"):
        with pytest.raises(InputError, match="no condition on the columns id, year, place, size"):
            index.query("red", where=wrong)
    with pytest.raises(InputError, match=r"its columns of metadata are year \(int64\), .*those of --metadata are none"):
        add(model, galleries.of_images(model, images), place)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,year\na,1\n", "has no column id"),
        ("id,vector\na,1\n", "a column cannot have the name 'vector'"),
        ("id,a b\na,1\n", "a column cannot have the name 'a b'"),
        ("id,year,year\na,1,2\n", "two columns have the name 'year'"),
        ("id,_distance\na,1\n", "a column cannot have the name '_distance'"),
        ("id,year\n", "has no lines below"),
        ("id,year\na\n", "line 2: has another number of values"),
        ("id,year\na,1,2\n", "line 2: has another number of values"),
        ("id,year\na,1\nb,2\na,3\n", "the id a has two lines"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_metadata(tmp_path / "x.csv")
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_metadata(tmp_path / "nothing.csv")


def test_columns_have_the_types_of_their_values(tmp_path):
    """Codes stay text, an empty cell is no value, and numbers beyond 64 bits are no integers."""
    header = "id,large,small,code,gap,grouped,odd"
    lines = [f"a,{2**70},1,0150,,1_000,nan", f"b,3,{-(2**63)},7,2.5,3,4"]
    (tmp_path / "x.csv").write_text("\n".join([header, *lines]) + "\n")
    values = read_metadata(tmp_path / "x.csv")
    types = {"large": "double", "small": "int64", "code": "string", "gap": "double", "grouped": "string"}
    types |= {"odd": "string"}  # a number that JSON does not have
    assert types_of(values) == types
    assert values["a"] == {
        "large": float(2**70),
        "small": 1,
        "code": "0150",
        "gap": None,
        "grouped": "1_000",
        "odd": "nan",
    }
    (tmp_path / "more.csv").write_text("gap,id,code,grouped,small,large,odd\n7,c,12,,3,4,\n")
    more = read_metadata(tmp_path / "more.csv", types)  # in the types of the index, and in any order
    assert more["c"] == {"gap": 7.0, "code": "12", "grouped": None, "small": 3, "large": 4.0, "odd": None}
    (tmp_path / "wrong.csv").write_text("gap,id,code,grouped,small,large,odd\n7,c,12,,3,4,\n7,d,12,,many,4,\n")
    with pytest.raises(InputError, match="line 3: small must be a whole number, as in the index; correct it"):
        read_metadata(tmp_path / "wrong.csv", types)
    with pytest.raises(InputError, match=r"its columns are large, small.*; the index has year \(int64\)"):
        read_metadata(tmp_path / "x.csv", {"year": "int64"})
