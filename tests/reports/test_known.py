from itertools import combinations

import pytest

from detox.assignment import SCHEMES
from detox.assignment.schemes import AuditedFiles
from detox.reports.known import advised, as_json, rows


def bad(holders, byzantine):
    return sum(2 * len(byzantine.intersection(of_one)) > len(of_one) for of_one in holders)


@pytest.mark.parametrize(("p", "q", "r"), [(9, 2, 3), (9, 3, 3), (15, 3, 3), (15, 2, 5), (7, 2, 3)])
def test_the_numbers_are_those_of_all_placements_counted(p, q, r):
    schemes = {
        f"r = {r}": SCHEMES["fixed"](r),
        f'r = {r}, copies = "lazy"': SCHEMES["fixed"](r, lazy=True),
        "r = 1, audit.workers = 1": AuditedFiles(1, 1),
        **{
            f'r = {r}, groups = "{name}"': SCHEMES[name](p, r)
            for name in ("mols", "ramanujan", "steiner")
            if not SCHEMES[name].why_not(p, r)
        },
    }
    found = {row.set: row for row in rows(p, q, r)}
    if p % r:
        del schemes[f"r = {r}"]
    assert found.keys() == schemes.keys()
    for name, scheme in schemes.items():
        row, holders = found[name], scheme.draw(1, range(p)).holders
        counts = [bad(holders, set(chosen)) for chosen in combinations(range(p), q)]
        assert row.files == len(holders)
        assert row.secret == pytest.approx(sum(counts) / len(counts))
        if row.known is not None:
            assert max(counts) == row.known if row.exact else max(counts) <= row.known
        assert name.endswith("audit.workers = 1") == (row.known is None)


def test_where_it_is_known_the_smallest_share_is_taken():
    assert as_json(45, 5, 3)["advised_known"] == 'r = 3, groups = "steiner"'
    assert as_json(18, 3, 3)["advised_known"] == 'r = 3, groups = "mols"'
    assert as_json(17, 3, 3)["advised_known"] == 'r = 3, copies = "lazy"'
    assert advised([]) is None
