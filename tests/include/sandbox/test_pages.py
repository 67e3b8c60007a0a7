"""Pages and pictures: well-formed, and nothing of what was uploaded becomes markup."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from include.sandbox.pictures import picture

text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"], exclude_characters="\ufffe\uffff"), max_size=200)


@given(product=text.filter(bool), title=text, category=text)
def test_any_product_has_a_picture(product: str, title: str, category: str) -> None:
    drawn = picture(product, title, category)
    root = etree.fromstring(drawn.encode())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("aria-label") == title
    assert drawn == picture(product, title, category)


def test_pictures_differ_and_show_their_titles() -> None:
    milk, bread = picture("1", "Milk", "Dairy"), picture("2", "Bread", "Bakery")
    assert "Milk" in milk
    assert milk.replace("Milk", "Bread") != bread


@pytest.mark.parametrize("product", ["1", "a/b", "<script>", "ž &"])
def test_a_product_page_and_its_picture(shared: Any, product: str) -> None:
    from urllib.parse import quote

    page = shared.session.get(f"{shared.url}/products/{quote(product, safe='')}", timeout=30)
    assert page.status_code == 200
    assert "<script>" not in page.text
    drawn = shared.session.get(f"{shared.url}/products/{quote(product, safe='')}.svg", timeout=30)
    assert etree.fromstring(drawn.content).get("aria-label") == f"Product {product}"


def test_the_front_page_before_and_after(client: Any, purchases: Any) -> None:
    empty = client.session.get(client.url + "/", timeout=30)
    assert "None was published yet" in empty.text
    client.send_users(["u1"])
    client.send_users(["default"])
    client.send_purchases(purchases)
    client.publish(today="2024-05-20")
    client.fault("500", path="/<b>")
    full = client.session.get(client.url + "/", timeout=30).text
    assert "/batches/1234-5678.xml" in full
    assert "cancelled" in full
    assert "/&lt;b&gt;" in full
    etree.HTML(full)


def test_health_and_unknown_paths(shared: Any) -> None:
    health = shared.session.get(shared.url + "/health", timeout=30)
    assert health.json() == {"status": "ok", "tracker": "1234-5678"}
    for path in ("/nothing", "/v1/nothing", "/_sandbox/nothing"):
        answer = shared.session.get(shared.url + path, timeout=30)
        assert (answer.status_code, answer.json()) == (404, {"reason": "Not Found"})
    assert shared.session.get(shared.url + "/_sandbox/publish", timeout=30).status_code == 405
