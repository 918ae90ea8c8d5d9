"""What a page is made of, read back from its HTML."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "wbr", "link", "img", "hr"}


class Outline(HTMLParser):
    """Collects what a page refers to, its ids, headings, figures, and refuses tags that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.unnamed = 0
        self.words = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.references += [
            values[k] for k in ("src", "href", "xlink:href", "srcset", "data", "action") if values.get(k)
        ]
        self.ids += [values["id"]] if "id" in values else []
        self.unnamed += values.get("role") == "img" and not values.get("aria-label")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words += data
