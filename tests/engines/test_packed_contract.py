"""What every engine promises, as far as packed weights keep it.

Rows of a prompt are rounded otherwise than single ones, so what a token's keys and values are depends, within a few
hundredths, on whether it was read in a prompt or by itself: what was scored before may turn over a near tie.
"""

from __future__ import annotations

import contract
import gguf_files
import pytest
from contract import SAMPLED

from fim_magic.engines import Sampling
from fim_magic.engines.torch.local import LocalEngine
from fim_magic.engines.torch.packed_conversion import packed_form

SHORT, LONG = 21, 700


def prompt_of(length):
    return [(7 * n * n + 3) % 250 for n in range(length)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    tiny = gguf_files.write_gguf(root / "tiny.gguf", context=1024)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIM_MAGIC_CACHE", str(root / "cache"))
        engine = LocalEngine.load(packed_form(tiny.path), name="tiny", revision="")
        yield engine


def test_greedy_candidates_are_all_the_same(loaded):
    contract.greedy_candidates_are_all_the_same(loaded, prompt_of(LONG))


def test_a_seed_repeats_and_another_does_not(loaded):
    contract.a_seed_repeats_and_another_does_not(loaded, prompt_of(SHORT))


def test_the_first_of_several_candidates_is_greedy(loaded):
    contract.the_first_of_several_candidates_is_greedy(loaded, prompt_of(SHORT))


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("finished", [0, 1, 2])
def test_finishing_one_candidate_leaves_the_others_alone(loaded, finished, sampling):
    contract.finishing_one_candidate_leaves_the_others_alone(loaded, prompt_of(LONG), finished, sampling)


def test_candidates_can_be_finished_before_the_first_step_and_one_after_another(loaded):
    contract.candidates_can_be_finished_before_the_first_step_and_one_after_another(loaded, prompt_of(SHORT))


def test_two_generations_do_not_disturb_each_other(loaded):
    contract.two_generations_do_not_disturb_each_other(loaded, prompt_of(SHORT), prompt_of(LONG))


def test_a_hundred_requests_keep_no_more_than_ten(loaded):
    contract.a_hundred_requests_keep_no_more_than_ten(loaded, 250)


def test_scoring_leaves_requests_alone(loaded):
    contract.scoring_leaves_requests_alone(loaded, prompt_of(LONG), prompt_of(70))


def test_nothing_is_scored_as_nothing(loaded):
    contract.nothing_is_scored_as_nothing(loaded, prompt_of(SHORT))


def test_a_text_beyond_the_context_is_not_scored(loaded):
    contract.a_text_beyond_the_context_is_not_scored(loaded)
