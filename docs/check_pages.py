"""Hook of MkDocs: warns where a page's lists, code or tables come out otherwise than on GitHub.

MkDocs reads Markdown in an older dialect: what belongs to a list item is indented by four spaces, not by two or three.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

from markdown_it import MarkdownIt

LOG = logging.getLogger("mkdocs.hooks.check_pages")
COMMON_MARK = MarkdownIt("commonmark").enable("table")


def parts(html: str) -> Counter[str]:
    """How often each of the tags that can go wrong occurs."""
    return Counter(re.findall(r"<(ul|ol|li|pre|table|tr)\b", html))


def on_page_content(html: str, page: Any, **_: Any) -> None:
    """Compares a page with what CommonMark makes of its source; API pages and notebooks have another source."""
    if page.file.src_uri.endswith(".md") and "\n::: " not in page.markdown:
        here, on_github = parts(html), parts(COMMON_MARK.render(page.markdown))
        if here != on_github:
            differ = ", ".join(f"{here[tag]} <{tag}>, not {on_github[tag]}" for tag in here | on_github)
            LOG.warning(f"{page.file.src_uri} differs from GitHub ({differ}): indent list items' content by 4 spaces")
