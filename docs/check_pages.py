"""Hook of MkDocs: what GitHub shows well is shown as well on the site.

MkDocs reads Markdown in an older dialect, which indents the content of a list item by four spaces, not by two or three:
a page whose lists, code or tables come out otherwise than on GitHub is a warning. The plugin for notebooks leaves their
links to Markdown files alone: they are changed to the pages of the site.
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


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Compares a page with what CommonMark makes of its source (API pages have another one); links of a notebook."""
    if page.file.src_uri.endswith(".ipynb"):
        return re.sub(r'href="([^":]+)\.md\b', r'href="\1.html', html)
    if "\n::: " not in page.markdown:
        here, on_github = parts(html), parts(COMMON_MARK.render(page.markdown))
        if here != on_github:
            differ = ", ".join(f"{here[tag]} <{tag}>, not {on_github[tag]}" for tag in here | on_github)
            LOG.warning(f"{page.file.src_uri} differs from GitHub ({differ}): indent list items' content by 4 spaces")
    return html
