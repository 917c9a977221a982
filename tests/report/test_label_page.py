"""The page to label places on: what comes from the data is text, and nothing but its pictures is loaded."""

import json
import re

from coslide.report.page import render

EVIL = "</script><img src=x onerror=alert(1)> & 'quoted'"


def page(**content):
    usual = {"title": "a", "ids": ["0a1b2c-1-2"], "words": ["landslide"], "panels": ["After"], "side_m": 640.0}
    return render("label.html.j2", **usual | {"map": "0a"} | content)


def test_texts_of_the_data_cannot_become_tags_or_end_the_script():
    text = page(title=EVIL, ids=[EVIL, "b"], words=[EVIL], panels=[EVIL], map=EVIL)
    assert "<img src=x" not in text
    assert text.count("</script>") == 1
    assert text.count("&lt;img src=x") == 3  # title, heading, panel
    ids = re.search(r"const ids = (\[.*?\]), words", text)[1]
    assert json.loads(ids) == [EVIL, "b"]


def test_only_pictures_beside_the_page_are_loaded():
    text = page()
    assert not re.search(r"https?:|@import|url\(|<link|src=\"[^\"]", text)
    assert "default-src 'none'; img-src 'self' file:;" in text


def test_every_answer_has_a_key_and_labels_can_be_saved_and_loaded():
    text = page(words=["landslide", "no landslide", "cannot tell"])
    assert 'const keys = ["1", "2", "3"]' in text
    assert all(f'id="{name}"' in text for name in ("back", "next", "save", "load", "todo", "progress"))
    assert "id,label" in text
    assert "A picture shows 640 m" in text


def test_a_second_person_can_start_without_the_labels_of_the_first_but_nobody_by_accident():
    (anew,) = re.findall(r"function anew\(\) \{.*?\n\}", page(), re.DOTALL)
    asks, forgets = anew.index("if (!confirm("), anew.index("localStorage.removeItem(key)")
    assert asks < anew.index("return;") < anew.index("labels = {};") < forgets
    assert 'at("anew").onclick = anew;' in page()
    assert '<button id="anew">Start anew</button>' in page()
