import pytest


@pytest.fixture
def lines(script):
    return script("experiments.byzshield").lines


@pytest.mark.parametrize(
    ("p", "r", "counts", "row"),
    [
        (15, 3, range(2, 8), "| mols | 25 | 1 (0.040) | 3 (0.120) | 5 (0.200) | 8 (0.320) | 12 (0.480) | 14 (0.560) |"),
        (15, 3, range(5, 8), "| steiner | 35 | 10 (0.286) | 15 (0.429) | 19 (0.543) |"),
        (15, 3, range(2, 8), "| fixed | 5 | 1 (0.200) | 1 (0.200) | 2 (0.400) | 2 (0.400) | 3 (0.600) | 3 (0.600) |"),
        (25, 5, range(3, 7), "| ramanujan | 25 | 1 (0.040) | 1 (0.040) | 2 (0.080) | 4 (0.160) |"),
        (35, 5, range(3, 6), "| mols | 49 | 1 (0.020) | 1 (0.020) | 2 (0.041) |"),
    ],
)  # fmt: skip
def test_the_tables_have_the_papers_numbers(lines, p, r, counts, row):
    assert row in lines(p, r, counts)


def test_an_assignment_that_there_is_not_has_no_row(lines):
    assert [line.split(" | ")[0] for line in lines(17, 3, [2])][2:] == ["| no copies", "| any, in secret, on average"]
