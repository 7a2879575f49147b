from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.assignment.finite import Field, Ring, prime_powers


@given(st.integers(2, 3000))
def test_a_number_is_the_product_of_its_prime_powers(n):
    value = 1
    for prime, exponent in prime_powers(n):
        assert all(prime % other for other in range(2, prime))
        value *= prime**exponent
    assert value == n


@pytest.mark.parametrize("factor", [(2, 1), (3, 1), (7, 1), (2, 2), (2, 3), (3, 2), (2, 4), (5, 2), (3, 3)])
def test_it_is_a_field(factor):
    field = Field(*factor)
    elements = range(field.size)
    for a, b, c in product(elements, elements, (0, 1, 2 % field.size, field.size - 1)):
        assert field.add(a, b) == field.add(b, a)
        assert field.multiply(a, b) == field.multiply(b, a)
        assert field.multiply(a, field.add(b, c)) == field.add(field.multiply(a, b), field.multiply(a, c))
        assert field.multiply(field.multiply(a, b), c) == field.multiply(a, field.multiply(b, c))
    for a in elements:
        assert field.add(a, 0) == a == field.multiply(a, 1)
        assert sorted(field.add(a, b) for b in elements) == list(elements)
        assert a == 0 or sorted(field.multiply(a, b) for b in elements) == list(elements)


def test_a_prime_field_counts_modulo_the_prime():
    field = Field(11)
    for a, b in product(range(11), repeat=2):
        assert field.add(a, b) == (a + b) % 11
        assert field.multiply(a, b) == a * b % 11


@pytest.mark.parametrize("size", [6, 8, 9, 12, 15, 35])
def test_two_lines_of_a_ring_that_are_apart_meet_once(size):
    ring = Ring(size)
    for a, b in product(range(ring.apart), repeat=2):
        if a != b:
            met = {(ring.line(a, i, j), ring.line(b, i, j)) for i, j in product(range(size), repeat=2)}
            assert len(met) == size**2
