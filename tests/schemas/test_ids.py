"""Ids are the same whether their parts are made together or apart."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import derive_id, id_of, id_part

FIELDS = st.lists(st.one_of(st.text(), st.integers()), max_size=5)


@given(FIELDS, FIELDS)
def test_parts_made_apart_give_the_same_id(first, second):
    assert id_of(id_part("order", *first) + id_part(*second)) == derive_id("order", *first, *second)


def test_ids_never_change():
    assert derive_id("order", "cause", "acc", "sub", "x:Y", "entry", 0) == "ec0b5e76cf0c9b7eae61e3d6191669c8"


def test_where_a_field_ends_counts():
    assert derive_id("a", "b", "cd") != derive_id("a", "bc", "d")
