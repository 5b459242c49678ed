"""What can be unfolded below a diff."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html import unescape

from fim_magic import holes
from fim_magic.candidate import Candidate, Check, Cut, Ending
from fim_magic.review.details import details_html, details_text

EVIL = "<script>x</script>"
FACTS = (("Model", "tiny"), ("Why there", EVIL))


def text_of(html):
    return unescape(re.sub(r"<[^>]*>", "", html))


def candidate(raw, *probabilities, ends=(), cut=None):
    logprobs = tuple(math.log(each) for each in probabilities)
    ids = tuple(range(len(logprobs)))
    return Candidate(raw, Ending.RULE, cut, ids, logprobs, tuple(ends))


def test_the_facts_come_first_each_with_its_label():
    html = details_html(FACTS, Candidate("abc", Ending.STOP_TOKEN))
    shown = "&lt;script&gt;x&lt;/script&gt;"
    assert html == (
        '<dl class="fim-about"><div><dt>Model</dt> <dd>tiny</dd></div>'
        f"<div><dt>Why there</dt> <dd>{shown}</dd></div></dl>"
    )


def test_nothing_more_is_folded_away_where_there_is_nothing_to_say():
    assert "<details" not in details_html(FACTS, Candidate("abc", Ending.STOP_TOKEN))
    assert "<details" not in details_html(
        FACTS, Candidate("abc\n\n", Ending.RULE, Cut("dedent", 3))
    )  # white space alone


def test_what_was_trimmed_is_struck_out_and_stays_text():
    html = details_html(FACTS, Candidate(f"abc{EVIL}\nmore", Ending.RULE, Cut("repeats-suffix", 3)))
    assert "Trimmed by repeats-suffix: 23 characters" in html
    assert "<del>&lt;script&gt;x&lt;/script&gt;&#10;more</del>" in html
    assert "<script" not in html


def test_no_blank_line_ends_the_html_where_an_exporter_reads_it_as_markdown():
    middle = "x\n\n![](http://else.where/a.png)\n \t\n# y\n"
    whole = f"{middle}\n\n[z](http://else.where)\n"
    html = details_html(
        FACTS, candidate(whole, 0.95, 0.95, 0.1, ends=(2, 3, len(middle)), cut=Cut("dedent", len(middle)))
    )
    assert "else.where/a.png" in html
    assert "\n" not in html


def test_a_token_of_which_nothing_is_known_takes_no_others_shade():
    known = candidate("abc", 0.95, 0.3, 0.6, ends=(1, 2, 3))
    html = details_html(FACTS, replace(known, logprobs=(None, *known.logprobs[1:])))
    assert "2 of 2 tokens below 90%" in html
    assert re.findall(r'title="(\d+%): [^"]+">(.)<', html) == [("30%", "b"), ("60%", "c")]
    assert ">a<" in html


def test_tokens_are_shaded_by_how_unsure_the_model_was():
    html = details_html(FACTS, candidate("abcd", 0.95, 0.6, 0.3, 0.1, ends=(1, 2, 3, 4)))
    assert "3 of 4 tokens below 90%" in html
    shades = re.findall(r'fim-doubt-(\d)" title="(\d+%): ([^"]+)">(.)<', html)
    assert shades == [
        ("1", "60%", "a little unsure", "b"),
        ("2", "30%", "unsure", "c"),
        ("3", "10%", "guessed", "d"),
    ]
    assert ">a<" in html
    assert 'title="95%' not in html


def test_the_tokens_together_are_the_middle():
    middle = f"x = '{EVIL}'\n\ty = 1 # 數"
    # A token that ends within a character has no text; one that was cut in two shows what was kept.
    ends = (1, 5, 5, 20, 30, len(middle) + 4)
    html = details_html(FACTS, candidate(middle + " tail", *[0.5] * 6, ends=ends, cut=Cut("dedent", len(middle))))
    sure = html[html.index("fim-sureness") :]
    assert text_of(sure[sure.index("<pre") :]) == middle
    assert "5 of 5 tokens" in sure


def test_checks_come_before_what_was_trimmed():
    html = details_html(FACTS, Candidate("abc", Ending.RULE, Cut("dedent", 1), checks=(Check("parses", True),)))
    assert html.index("<dt>Checks</dt> <dd>1 of 1 passed<ul") < html.index("Trimmed by dedent")


def test_plain_text_has_the_same():
    one = replace(
        candidate("abcd\n  e\x1b", 0.95, 0.6, 0.3, 0.1, ends=(1, 2, 3, 4), cut=Cut("dedent", 4)),
        checks=(Check("parses", True), Check("names", False, "undefined: e")),
    )
    assert details_text(FACTS, one).split("\n") == [
        "Model      tiny",
        f"Why there  {EVIL}",
        "Checks     1 of 2 passed",
        "           passed: parses",
        "           failed: names (undefined: e)",
        "Trimmed      e<U+001B>",
        "Unsure of  3 of 4 tokens below 90%",
    ]


def test_the_users_text_between_holes_is_not_a_token():
    one = candidate("a1|", 0.95, 0.6, 0.1, ends=(1, 2, 3), cut=Cut("dedent", 2))
    other = candidate("b2", 0.95, 0.3, ends=(1, 2))
    nothing = candidate("")
    both = holes.combine(holes.parse("f(█, mine, █, █)"), [one, other, nothing])
    html = details_html(FACTS, both)
    assert "Trimmed by dedent: 1 character<" in html
    sure = html[html.index("fim-sureness") :]
    assert text_of(sure[sure.index("<pre") :]) == "a1\n⋯\nb2"
    assert "2 of 4 tokens below 90%" in sure


def test_no_line_of_the_html_is_empty_as_markdown_would_read_what_follows():
    text = "a\n\n \n![x](http://example.org/x.png)\n"
    one = candidate(text, 0.1, 0.95, ends=(3, len(text)))
    other = Candidate(text, Ending.RULE, Cut("dedent", 0))
    html = "".join(details_html([("Model", text)], each) for each in (one, other))
    assert "http" in html
    assert all(line.strip() for line in html.split("\n"))
