"""The books of a build, in words."""

from include.books import table


def test_books_are_a_table_with_each_reason_below_the_rejected() -> None:
    books = {"extracted": 1_010, "rejected": 7, "duplicates": 3, "uploaded": 1_000}
    lines = table({"books": books, "reasons": {"duplicate": 3, "no_user": 5, "too_long": 2}}).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["extracted", "1,010"],
        ["rejected", "7"],
        ["no_user", "5"],
        ["too_long", "2"],
        ["duplicates", "3"],
        ["uploaded", "1,000"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1
