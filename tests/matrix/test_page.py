"""The reference page says what the tests play: something of every pair, and nothing else."""

import pytest

from tests.docs.pages import ROOT
from tests.matrix.features import FEATURES, PAIRS, Feature
from tests.matrix.meanings import MEANINGS, REFUSED, page, sentence


def test_the_committed_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "reference" / "pairs.md").read_text("utf-8")

    assert written == page(), "run: python tools/make_pairs.py"


@pytest.mark.parametrize("feature", FEATURES, ids=lambda one: one.name)
def test_every_pair_has_its_words_under_both_features(feature: Feature) -> None:
    for other in FEATURES:
        if other is not feature:
            assert sentence(feature, other) == sentence(other, feature)


def test_no_words_are_of_no_pair() -> None:
    said = {sentence(*pair) for pair in PAIRS}

    assert [one.sentence for one in MEANINGS if one.sentence not in said] == []
    assert all(any(refused.why in words for words in said) for refused in REFUSED.values())
